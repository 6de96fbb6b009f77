//! The registry: the one place where a code is made.
//!
//! A number belongs to its meaning for ever: a code that is no longer reported stays in a
//! comment here and its number is never given out again. 1xxx configuration, 2xxx devices,
//! 3xxx sinks, 4xxx store, 5xxx cluster, 6xxx secrets.

use std::fmt;

use serde::{Serialize, Serializer};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Level {
    /// The object is refused, or something does not work.
    Error,
    /// Worth knowing; nothing is refused.
    Warning,
}

macro_rules! registry {
    ($($number:literal $level:ident $reason:ident: $text:literal => $next:literal;)+) => {
        /// A diagnostic code; its variant name is its reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $text] $reason = $number,)+
        }

        impl Code {
            /// Every code, by number.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)+];

            /// CamelCase reason, as in a condition, e.g. `UnknownField`.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$reason => stringify!($reason),)+ }
            }

            /// What it is and why, for people.
            pub fn text(self) -> &'static str {
                match self { $(Self::$reason => $text,)+ }
            }

            /// What to do next.
            pub fn next(self) -> &'static str {
                match self { $(Self::$reason => $next,)+ }
            }

            /// How bad it is.
            pub fn level(self) -> Level {
                match self { $(Self::$reason => Level::$level,)+ }
            }
        }
    };
}

impl Code {
    /// The number, four digits.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The code as people write it, e.g. `LNS-1003`.
    pub fn id(self) -> String {
        format!("LNS-{:04}", self.number())
    }

    /// The anchor on the docs page, e.g. `lns-1003`.
    pub fn anchor(self) -> String {
        format!("lns-{:04}", self.number())
    }

    /// The page and anchor in the docs, e.g. `reference/diagnostics.html#lns-1003`.
    pub fn docs(self) -> String {
        format!("reference/diagnostics.html#{}", self.anchor())
    }

    /// The code that a person means by `LNS-1003`, `1003` or `UnknownField`; letter case does
    /// not matter.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = match text.get(..4) {
            Some(prefix) if prefix.eq_ignore_ascii_case("LNS-") => text.get(4..).unwrap_or(""),
            _ => text,
        };
        let number = digits.parse::<u16>().ok();
        Self::ALL
            .iter()
            .copied()
            .find(|c| Some(c.number()) == number || c.reason().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LNS-{:04}", self.number())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

registry! {
    // YAML and objects
    1001 Error YamlSyntax:
        "The file is not valid YAML at this place, so this document cannot be read. The other \
         documents of the file are not affected."
        => "Correct the indentation, quote or bracket at the line and column given, then run \
            `lineside validate -f FILE` again.";
    1002 Error NotAnObject:
        "A document must be a mapping with `apiVersion`, `kind`, `metadata` and `spec`; this \
         one is a list, a single value, or has no kind."
        => "Write one object per document and separate documents with a line `---`.";
    1003 Error UnknownField:
        "The field does not exist here. It is refused, because a field that nothing reads \
         would look as if it worked."
        => "Correct the spelling as suggested, or remove the field; the reference pages and \
            `kubectl explain` list the fields of each kind.";
    1004 Error UnknownKind:
        "Lineside has no such kind in this version of its API."
        => "Use one of the kinds that the message names, with `apiVersion: \
            lineside.dev/v1alpha1`.";
    1005 Error UnknownApiVersion:
        "The group is Lineside's, but this version of the API does not exist in this release."
        => "Write `apiVersion: lineside.dev/v1alpha1`.";
    1006 Error DuplicateKey:
        "The same key stands twice in one mapping. YAML forbids it; many readers silently \
         keep only one of the two."
        => "Remove one of the two lines.";
    1007 Error WrongType:
        "The value has another type than the field, for example text where a number is \
         wanted."
        => "Write the type that the message names; quotes make a value a string, no quotes make \
            502 a number.";
    1008 Error MissingField:
        "A required field is not there, or has no value."
        => "Add the field that the message names.";
    1009 Error ValueOutOfBounds:
        "The number is smaller or larger than the field allows."
        => "Choose a value within the bounds that the message names.";
    1010 Error LengthOutOfBounds:
        "The text, list or map has more or fewer elements than the field allows."
        => "Shorten or split it; the message names the bound.";
    1011 Error UnknownValue:
        "The field takes one of a fixed set of words, and this is none of them."
        => "Use one of the words that the message lists; upper and lower case matter.";
    1012 Error PatternMismatch:
        "The text has characters or a form that the field does not allow."
        => "Write it in the form that the message describes.";
    1013 Error DuplicateName:
        "Two elements of one list have the same name. Names identify elements, so only one \
         could take effect."
        => "Rename or remove one of the two.";
    1014 Error DuplicateObject:
        "Two objects of the same kind have the same namespace and name. Which of them counts \
         would depend on the order of files."
        => "Rename or remove one of the two; the message says where the other one is.";
    1015 Error InvalidName:
        "The name or namespace of an object must be a name of RFC 1123: small letters, digits \
         and `-` (names also `.`), beginning and ending with a letter or digit."
        => "Rename the object, for example `furnace-1`.";
    1016 Error InvalidLabel:
        "A label has a key or a value that Kubernetes does not allow: at most 63 letters, \
         digits, `-`, `_`, `.`, beginning and ending with a letter or digit; keys may have a \
         DNS prefix before `/`."
        => "Correct the label that the message names.";
    1017 Warning ObjectIgnored:
        "The document is an object of another API group. Lineside does not read it, and says \
         so in case it was meant to be read."
        => "Nothing, if that is intended; otherwise write `apiVersion: lineside.dev/v1alpha1`.";
    1018 Error FileTooLarge:
        "The file is larger than 8 MiB, so it is not read."
        => "Split it into several files below one directory.";
    1019 Error YamlTooComplex:
        "The document is nested too deeply, has more values than any valid object, or grows too \
         much through aliases, so it is not read."
        => "Write one object per document, and repeated parts out instead of through aliases.";
    1020 Error FileUnreadable:
        "The file cannot be read, or is not UTF-8 text."
        => "Check the path, its permissions and its encoding, for example with `file PATH`.";
    // Unions
    1030 Error ExactlyOneEndpoint:
        "A device is reached either by `url` or by `protocol`; both at once could contradict \
         each other, and none says nothing."
        => "Write exactly one of `spec.url` and `spec.protocol`.";
    1031 Error ExactlyOneProtocol:
        "`spec.protocol` needs the settings that belong to its `type`, and no others."
        => "For `type: ModbusTCP` write `modbusTcp: {host: ...}` beside it.";
    1032 Error ExactlyOneSink:
        "A sink needs exactly one destination: one that is written there, or in a pipeline also \
         one that a Sink has."
        => "Write exactly one of `mqtt: {url: ...}` and `iotdb: {url: ...}`, or in a pipeline \
            `sinkRef: {name: ...}`.";
    1033 Error ExactlyOneVolume:
        "The state of an agent is kept either on a claimed volume or in an `emptyDir`."
        => "Write exactly one of `persistentVolumeClaim: {}` and `emptyDir: {}` in \
            `spec.stateVolume`, or remove `stateVolume` for a claim of 1Gi.";
    1034 Error ExactlyOneTransform:
        "A transform does one thing; several in one element would have no order."
        => "Write exactly one of rename, scale, deadband, onChange, swingingDoor, window, filter \
            and map, and further elements for further steps.";
    // Transforms
    1035 Error RenameStars:
        "The `*` in `to` stands for what the `*` in `from` stood for, so both have one or none: \
         else points would lose their names or share one."
        => "Write `*` in both, for example `from: \"t_*\"` and `to: \"temperature/*\"`.";
    1036 Error DeadbandUnclear:
        "A deadband is either `absolute`, or a `percent` of a `span`."
        => "Write `absolute: \"0.5\"`, or `percent: \"1\"` with `span: {low: \"0\", high: \"250\"}`.";
    1037 Error DeadbandRange:
        "`percent` lies between 0 and 100, and the low end of a span below its high end."
        => "Correct the numbers, for example `percent: \"1\"` and `span: {low: \"0\", high: \
            \"250\"}`.";
    1038 Error ExpressionInvalid:
        "The expression cannot be used. It is the part of CEL that is about one sample: the \
         variables value, good, status, point, device and time, operators, and functions of \
         text, numbers and times; without lists, macros and fields."
        => "Correct it at the character that the message names; how-to/transforms.md has the \
            functions.";
    1039 Error ExactlyOneSource:
        "A source of a pipeline takes either devices or the agents' own metrics."
        => "Write exactly one of `devices: {}` and `agentMetrics: {}` in the source; a pipeline may \
            have a source of each.";
    // Connection strings
    1040 Error UrlSyntax:
        "The connection string cannot be read. Its form is \
         `modbus-tcp://HOST[:PORT][?option=value&...]`, with brackets around an IPv6 address."
        => "Correct the string, for example \
            `modbus-tcp://10.20.0.11:502?default-unit-identifier=1`.";
    1041 Error UrlProtocolUnsupported:
        "The connection string names a protocol or transport that this release does not \
         speak."
        => "Use `modbus-tcp://HOST:PORT`; the message says what was understood.";
    1042 Error UrlOptionUnknown:
        "The connection string has an option that neither Lineside nor Apache PLC4X knows."
        => "Correct the spelling as suggested, or remove the option.";
    1043 Error UrlOptionInvalid:
        "An option of the connection string has a value that it cannot have, or stands there \
         twice."
        => "Write a value of the form and bounds that the message names.";
    1044 Error UrlOptionUnsupported:
        "The option exists in Apache PLC4X but changes nothing here. It is refused, because \
         an option without effect would look as if it worked."
        => "Remove the option; the message names the field that does the same, if there is one.";
    1045 Warning UrlOldSpelling:
        "The connection string uses an older spelling. It works the same."
        => "Write it as the message shows.";
    1046 Error UrlContradicted:
        "An option of the connection string and a field of the spec set the same thing to \
         different values."
        => "Keep one of the two.";
    1047 Error SinkUrlInvalid:
        "The URL of the sink cannot be used. Its form is `mqtt://HOST:PORT` or, encrypted, \
         `mqtts://HOST:PORT`; for IoTDB `iotdb://HOST:PORT` or `iotdbs://HOST:PORT`, with further \
         nodes after commas. It has no user, password, path or options."
        => "Correct the URL; user name and password belong in a Secret named by \
            `credentialsRef`.";
    // Addresses
    1050 Error AddressSyntax:
        "The address cannot be read. Its form is that of Apache PLC4X: \
         `AREA:NUMBER[:TYPE][[COUNT]][{unit-id: N, byte-order: 'ORDER'}]`, for example \
         `holding-register:100:REAL`."
        => "Correct the address; `lineside validate --points` prints the wire address it \
            means.";
    1051 Error AddressOutOfRange:
        "The address, or the end of the value that begins there, lies outside of the table. \
         Addresses count from 1 to 65536."
        => "Correct the number. Addresses count from one, so wire address 0 is written 1.";
    1052 Error UnknownDataType:
        "The address names a data type that does not exist here."
        => "Use one of BOOL, SINT, USINT, BYTE, INT, UINT, WORD, DINT, UDINT, DWORD, LINT, \
            ULINT, LWORD, REAL, LREAL, CHAR, WCHAR.";
    1053 Error TypeDoesNotFitArea:
        "The data type cannot be read from this table: coils and discrete inputs hold single \
         bits, so only BOOL fits them."
        => "Use type BOOL, or the register table that holds the value.";
    1054 Error ArrayUnsupported:
        "A point has one value. Counts are for text and bytes: CHAR, WCHAR and BYTE."
        => "Write one point per element, for example `holding-register:1:INT` and \
            `holding-register:2:INT`, or use BYTE, CHAR or WCHAR with a count.";
    1055 Error ExtendedRegisterUnsupported:
        "Extended registers (file records, function code 20) are not read by this release."
        => "Use holding or input registers, if the device mirrors the value there; otherwise \
            remove the point.";
    1056 Error UnitIdOutOfRange:
        "A Modbus unit identifier is a number from 0 to 255."
        => "Correct the `unit-id` of the address.";
    1057 Error AddressOptionUnknown:
        "The braces of the address hold an option that does not exist, stands there twice, or \
         has no readable value."
        => "Use `unit-id` and `byte-order` only, for example `{unit-id: 10, byte-order: \
            'LITTLE_ENDIAN'}`.";
    // Points
    1060 Error GroupTooLarge:
        "The points of one group are read with one request, and together they span more \
         registers or bits than one request may hold."
        => "Make the group smaller, or raise `maxRegistersPerRequest` or `maxCoilsPerRequest` if \
            the device allows it.";
    1061 Error GroupMixed:
        "The points of one group are read with one request, so they must lie in one table of \
         one unit and have one interval."
        => "Give points of different tables, units or intervals different groups.";
    1062 Error ReservedPointName:
        "The name of a point plus `_q` is where databases keep its quality, so both names \
         cannot be points of one device."
        => "Rename the point that ends with `_q`.";
    1063 Error ValueTooLarge:
        "One value needs more registers than one request to this device may hold. A value is \
         never split over two requests."
        => "Raise `maxRegistersPerRequest`, or read fewer elements.";
    // Pipelines
    1070 Error TopicPlaceholderUnknown:
        "The topic template has a placeholder that does not exist."
        => "Use {namespace}, {device}, {point}, {pipeline} or {location}.";
    1071 Error TopicSyntax:
        "The topic template is not a topic that can be published to: `+`, `#` and control \
         characters are not allowed, it must not begin with `$` or `/`, have an empty level, \
         or an open brace."
        => "Correct the template, for example `lineside/{namespace}/{device}`.";
    1072 Error TopicNeedsPoint:
        "With `encoding: Value` each point has its own topic; without `{point}` all points \
         would be published to one topic and nobody could tell them apart."
        => "Add `/{point}` to the topic.";
    1073 Error TopicPointUnused:
        "The topic has `{point}`, but with this encoding one message holds many points."
        => "Remove `{point}` from the topic, or use `encoding: Value`.";
    1074 Error TlsWithoutMqtts:
        "TLS settings are given, but the URL is `mqtt://` or `iotdb://`, which is not encrypted."
        => "Write `mqtts://` or `iotdbs://` in the URL, or remove `tls`.";
    1075 Error ClientCertificateIncomplete:
        "A client certificate needs its key, and the key its certificate."
        => "Write both `tls.certRef` and `tls.keyRef`, or none.";
    1077 Error QuantityInvalid:
        "The size is not a Kubernetes quantity within its bounds."
        => "Write a whole number with a binary or decimal suffix, for example `16Mi`, `1Gi` or \
            `500M`.";
    1078 Error CredentialKeysEqual:
        "User name and password are two keys of one Secret, and here both have one name."
        => "Give `usernameKey` and `passwordKey` different values.";
    1079 Error Int64WithoutJson:
        "`int64` chooses how 64-bit integers are written in JSON, and `encoding: Value` \
         writes no JSON message."
        => "Remove `int64`, or use `encoding: JSON` or `FlatJSON`.";
    1080 Warning NoDevices:
        "A source of the pipeline selects no device, so nothing will flow from it."
        => "Correct the names or labels of the source, or add the device.";
    1081 Warning DeviceNotFound:
        "The pipeline names a device that is not among the objects that were read."
        => "Correct the name, or add the device to the same namespace.";
    1083 Error OtherIotdbModel:
        "The field belongs to the other of the two models of IoTDB: `prefix` to the tree model, \
         `database` and `table` to the table model."
        => "Remove the field, or write `model: Table` (with `database` and `table`) or `model: \
            Tree` (with `prefix`).";
    1084 Error ReferenceInvalid:
        "The object names another object that is refused itself, so it cannot be used. What ran \
         before goes on."
        => "Correct the object that the message names; its own problems are reported with it.";
    // Agent
    1090 Error ConfigRejected:
        "A new version of the object was refused; its last accepted version goes on running."
        => "Correct the problems that are reported with it, then apply the object again.";
    1091 Error NotInThisBuild:
        "This build of the agent has no driver or no sink for what the object asks for, so the \
         object waits; everything else goes on."
        => "Run a build that has it: the released binaries and images have all of them.";
    // Pools and placement
    1100 Error TolerationInvalid:
        "Kubernetes would refuse this toleration in a Pod: one without `key` needs `operator: \
         Exists`, `Exists` takes no `value`, and `tolerationSeconds` needs `effect: NoExecute`."
        => "Correct it, for example `{key: dedicated, operator: Exists, effect: NoSchedule}`.";
    1101 Error RequestAboveLimit:
        "A request is more than the limit of the same resource; Kubernetes refuses such a Pod."
        => "Lower the request or raise the limit.";
    1102 Error OwnershipUnavailable:
        "This release reads a device from one node only: `ownership: Failover` would need \
         another node to take over, which it cannot do yet. It is refused, so that nobody \
         relies on it."
        => "Write `ownership: Pinned`, or remove the field.";
    1103 Warning WrittenByOperator:
        "Objects of this kind are made by the operator. What a person writes in one has no \
         effect, or is changed back."
        => "Remove the object; edit the AgentPool, the DeviceConnections or the Pipelines.";
    // Reaching the device
    2001 Error Unreachable:
        "The device cannot be reached: the connection was refused, or the network has no way \
         to it."
        => "Check that the device is on, that host and port are right, and that a firewall lets \
            the agent through, for example with `nc -vz HOST PORT`.";
    2002 Error ConnectTimeout:
        "The device did not accept a connection within `timeouts.connectMillis`."
        => "Check host, port and network; raise `timeouts.connectMillis` only for slow links.";
    2003 Error HostNotFound:
        "The host name of the device cannot be resolved."
        => "Check the name with `getent hosts HOST` where the agent runs, or write the address \
            instead.";
    2004 Error RequestTimeout:
        "The device accepted the request but did not answer within `timeouts.requestMillis`."
        => "Check the unit identifier first: many gateways say nothing for a unit that does not \
            exist; then raise `timeouts.requestMillis` or `intervalMillis`.";
    2005 Error ConnectionLost:
        "The device or something on the way closed the connection."
        => "Check whether the device limits its connections: another client may have taken the \
            only one; the agent dials again by itself.";
    2006 Error ProtocolViolation:
        "What came back is not what the protocol allows, so nothing of it was used."
        => "Check that the port really speaks this protocol; `lineside read` shows the bytes.";
    // Answers of the device
    2010 Error IllegalFunction:
        "The device answered exception 1: it does not support this function, often because \
         the table does not exist."
        => "Use another table for the point, for example holding instead of input registers.";
    2011 Error IllegalDataAddress:
        "The device answered exception 2: the address, or a part of the range, does not exist \
         in it."
        => "Check the address against the device's manual: addresses here count from one, many \
            manuals count from zero.";
    2012 Error IllegalDataValue:
        "The device answered exception 3: it does not accept the length of the request."
        => "Lower `maxRegistersPerRequest` or `maxCoilsPerRequest` to what the device's manual \
            allows.";
    2013 Error DeviceFailure:
        "The device answered exception 4: it failed while it handled the request."
        => "Look at the device itself, its display or log; the agent tries again by itself.";
    2014 Error DeviceBusy:
        "The device answered exception 5 or 6: it is busy and wants to be asked later."
        => "Raise `intervalMillis`, or set `limits.maxRequestsPerSecond`.";
    2015 Error GatewayPathUnavailable:
        "The gateway answered exception 10: it has no way to the unit."
        => "Check the unit identifier and the gateway's configuration of its serial port.";
    2016 Error GatewayTargetSilent:
        "The gateway answered exception 11: the unit behind it did not answer."
        => "Check that the unit is on, its wiring, and its unit identifier.";
    2017 Error UnknownException:
        "The device answered with an exception that the standard does not define."
        => "Look the number up in the device's manual.";
    2018 Error AnswerNotUsable:
        "The device answered, but the bytes are no value of the point's type, for example \
         text that is no text."
        => "Check type, count and byte order of the point with `lineside read`.";
    // State of the device
    2030 Warning SomePointsBad:
        "Some points of the device cannot be read; the others are delivered."
        => "See which with `lineside read` or in the samples: each bad point carries its own \
            quality.";
    2031 Error AllPointsBad:
        "The device answers, but not one point can be read."
        => "Check unit identifier and addresses with `lineside read`.";
    2032 Error NoData:
        "No good sample has arrived within the deadline, although the device is connected."
        => "Check the intervals of the points and the device's answers with `lineside read`.";
    2033 Warning DeviceOff:
        "The device does not answer, and it is declared `availability: Intermittent`, so this \
         is taken as being switched off."
        => "Nothing, if it is off; otherwise treat it as unreachable: check power and network.";
    2034 Warning Flapping:
        "The state changed more than three times within 60 s, so it is shown as degraded \
         until it holds."
        => "Look for a loose cable, an overloaded device, or two clients that push each other \
            out.";
    2035 Error DriverPanicked:
        "The driver failed on an internal error; it was restarted and the other devices go \
         on."
        => "Please report it with the log lines of that moment.";
    2036 Error DevicesSilent:
        "Not one device of the pipeline is read, so there is nothing to deliver."
        => "Look at the devices: `lineside status` names each with its own code and next step.";
    // Reaching the sink
    3001 Error SinkUnavailable:
        "The destination cannot be reached, so records wait in the store."
        => "Check host, port and network of the sink; the agent connects again by itself.";
    3002 Error SinkTimeout:
        "The destination did not accept the connection in time."
        => "Check host, port and network of the sink, for example with `nc -vz HOST PORT`.";
    3003 Error SinkAuth:
        "The destination refused user name, password, certificate, or the right to publish."
        => "Check the Secret that `credentialsRef` or `tls` names and the access list of the \
            destination.";
    3004 Error SinkTls:
        "The encrypted connection could not be made: a certificate is not trusted, has \
         expired, or is for another name."
        => "Check `tls.caRef` and `tls.serverName`, and the clock of this machine.";
    3005 Error SinkProtocol:
        "The destination answered something that the protocol does not allow, or does not \
         speak this version."
        => "Check port and `version` of the sink.";
    3006 Error SinkSilent:
        "The destination keeps the connection but acknowledges nothing, so nothing counts as \
         delivered."
        => "Look at the load and the disk of the destination; the agent connects again by \
            itself.";
    // Records
    3010 Error RecordRejected:
        "The destination refused a record and would refuse it again, so it was set aside and \
         the next ones go on."
        => "`lineside dlq show NAMESPACE/PIPELINE/SINK ID` shows it with what the remote said; \
            mend the cause, then `lineside dlq retry`.";
    3011 Error RecordTooLarge:
        "A record is larger than the destination accepts, so it was set aside."
        => "Raise the packet limit of the destination, or split the device into several.";
    3012 Error RecordPoisonous:
        "Whenever this record was sent, the remote broke the connection, though it takes others. \
         It is among the dead letters and the rest goes on."
        => "Look at it with `lineside dlq show`, mend the remote, then `lineside dlq retry`.";
    // What a destination says of itself
    3013 Error SinkReadOnly:
        "The destination takes no writes: somebody made it read-only, or it did so itself because \
         its disk is nearly full. Records wait in the store."
        => "Look at the disk of the destination; when there is space, let IoTDB write again with \
            `SET SYSTEM TO RUNNING`. The agent goes on by itself.";
    3014 Error SinkDiskFull:
        "The disk of the destination is full. Records wait in the store."
        => "Free space there, or let old data expire (`SET TTL` in IoTDB). The agent goes on by \
            itself.";
    3015 Error SinkQuota:
        "A quota of the destination is used up. Records wait in the store."
        => "Look at the quotas of the destination (`SHOW SPACE QUOTA` in IoTDB) and raise the one \
            that the message names, or let old data expire.";
    3016 Error SinkBusy:
        "The destination is too busy, or still starting, and takes nothing for now. Records wait \
         in the store."
        => "Nothing, if it passes. Otherwise look at memory and load of the destination.";
    3017 Error SinkInternal:
        "The destination answers with an error of its own."
        => "Read the message and the log of the destination; the agent tries again by itself.";
    3020 Error SinkPanicked:
        "The sink failed on an internal error; it was restarted and the other sinks go on."
        => "Please report it with the log lines of that moment.";
    // Store
    4001 Warning StoreFull:
        "The store reached `store.maxSize`, and samples were dropped as `store.overflow` \
         says. All are counted."
        => "Bring the sink back, or raise `store.maxSize`.";
    4002 Warning StoreExpired:
        "Samples grew older than `store.maxAgeSeconds` before they could be delivered, and \
         were dropped. All are counted."
        => "Bring the sink back, or raise `store.maxAgeSeconds`.";
    4003 Warning SinkRemoved:
        "A sink was removed while samples for it were waiting; they were given up and \
         counted."
        => "Nothing, if that is intended; otherwise write the sink back under the same name \
            before removing it.";
    4010 Warning StoreDiskFull:
        "The disk of the state directory is full. What is captured is held in memory, as far as \
         it fits, and delivered from there; it does not survive the agent. It is written as soon \
         as there is space."
        => "Free space on the volume, or make it larger; `lineside lag` shows which pipeline \
            holds how much.";
    4011 Warning StoreReadOnly:
        "The file system of the state directory takes no writes any more. What is captured is \
         held in memory, as far as it fits, and delivered from there; it does not survive the \
         agent."
        => "Look at the kernel's log for why it was mounted read-only, repair it and mount it \
            again; the agent goes on by itself.";
    4012 Warning StoreDiskFailed:
        "The disk of the state directory fails. What is captured is held in memory, as far as \
         it fits, and delivered from there; it does not survive the agent."
        => "Look at the kernel's log; replace the disk. The agent goes on by itself when writing \
            works again.";
    4013 Warning StoreUnavailable:
        "The store in the state directory cannot be opened, so the pipeline holds its samples \
         in memory. It is tried again every few seconds."
        => "Read the message: another process, a damaged file, or a disk that is full or \
            read-only. `lineside store verify DIR` looks at the files without changing them.";
    4014 Warning StoreCorrupt:
        "The disk no longer gives what was written to it: records are lost, and counted. The \
         damaged file is kept beside the others as `*.corrupt`."
        => "Replace the disk soon. `lineside store verify DIR` shows what is damaged.";
    // Running agents on a cluster
    5001 Error AgentNotRunning:
        "The pod of the agent does not run, so its devices are not read. The message has the \
         reason of the scheduler (no node fits, volume not bound) or of the kubelet (image not \
         there, container ends)."
        => "Look at the events of the pod: `kubectl describe pod -n NAMESPACE -l \
            lineside.dev/agent=AGENT`, and of its volume: `kubectl describe pvc -n NAMESPACE \
            AGENT`.";
    5002 Error AgentSilent:
        "The agent has not renewed its Lease for three heartbeats, so nobody knows what its \
         devices do. It may well go on reading: an agent needs no API server for that."
        => "Check node and pod: `kubectl get node NODE` and `kubectl get pod -n NAMESPACE -l \
            lineside.dev/agent=AGENT -o wide`; if both run, the way from the node to the API \
            server.";
    5003 Error NoFittingNode:
        "No node carries all the labels that the pool and the device ask for, or every node \
         that does is closed to new agents, so no agent can read the device."
        => "Compare `placement.nodeSelector` and the pool's `nodeSelector` with `kubectl get \
            nodes --show-labels`; correct the selector or label a node.";
    5004 Error CapacityExceeded:
        "Every fitting node has an agent that is full: an agent takes 512 devices and 7 MiB of \
         compressed configuration."
        => "Add a node to the pool, make another AgentPool and name it in `agentPoolRef`, or \
            split the largest devices; `kubectl get agents.lineside.dev -n NAMESPACE` shows \
            who is where.";
    // 5005 is kept for a device whose node no longer carries the labels that were asked for.
    // What objects name
    5010 Error ReferenceNotFound:
        "The object names another object that is not there, or not yet. It is picked up by \
         itself when it appears."
        => "Correct the name, or create what the message names, in the same namespace: objects \
            never name anything of another namespace. `kubectl get sinks.lineside.dev -n \
            NAMESPACE` lists the Sinks that there are.";
    5011 Error AgentPoolNotFound:
        "The device names an AgentPool that is not there, or not yet."
        => "Correct `agentPoolRef`, or create the pool; `kubectl get agentpools.lineside.dev -n \
            NAMESPACE` lists them. The pool `default` always exists.";
    5012 Error SecretNotListed:
        "A Secret is used that the pool does not give to its agents. Agents see only the \
         Secrets in `credentialSecrets` of their pool, and `lineside-credentials`."
        => "Put the keys into the Secret `lineside-credentials`, or add the Secret to \
            `spec.credentialSecrets` of the AgentPool (this restarts the pool's agents, one \
            after the other).";
    // Feeding agents
    5020 Error Undecodable:
        "The object that the cluster holds cannot be read by this operator, most likely \
         because it was written for a newer release."
        => "Compare the versions of the charts `lineside-crds` and `lineside`; apply the object \
            again after the upgrade, or without the field that the message names.";
    5021 Warning ConfigPending:
        "The agent does not run the latest version of the object yet; the former version, if \
         any, goes on."
        => "Wait a moment. If it stays, see what the agent says: `kubectl logs -n NAMESPACE -l \
            lineside.dev/agent=AGENT`.";
    5022 Warning ConfigIncomplete:
        "The configuration that is mounted into the agent is not whole: a part is missing or \
         does not match its hash. What runs goes on until the set is complete; in the middle \
         of an update this lasts a second."
        => "If it stays, look for a ConfigMap that somebody else changed: `kubectl get \
            configmaps -n NAMESPACE -l lineside.dev/agent=AGENT`.";
    5023 Error ConfigTooNew:
        "The operator writes a form of configuration that this agent does not know. What runs \
         goes on."
        => "Remove `spec.image` of the AgentPool, or set it to the operator's release.";
    // Ending agents
    5030 Warning AgentDraining:
        "The agent is being removed and still delivers what it holds. It ends when everything \
         is delivered, or after the pool's `drainTimeoutSeconds`."
        => "Nothing; to end it at once and give up what it holds: `kubectl annotate \
            agents.lineside.dev -n NAMESPACE AGENT lineside.dev/discard-backlog=true`.";
    5031 Warning BacklogDiscarded:
        "An agent was released before everything that it held was delivered: its time was up, \
         its node or namespace is gone, or somebody asked for it."
        => "Look whether its sinks were reachable; a longer `drainTimeoutSeconds` of the pool \
            gives the next one more time.";
    // What `lineside check` finds
    5040 Error StateNotWritable:
        "The state directory cannot be written, so the agent cannot start, or cannot keep what \
         it must not forget."
        => "Give a directory with `--state DIR` that the agent's user may write; in a pod look at \
            the volume: `kubectl describe pvc -n NAMESPACE AGENT`.";
    5041 Error ClockNotSet:
        "The clock of this machine has never been set, so samples would carry wrong times and no \
         certificate can be verified."
        => "Start time synchronisation; `timedatectl status` shows whether it works.";
    5042 Error ApiServerUnreachable:
        "The Kubernetes API server cannot be reached from here. A running agent goes on reading \
         and delivering, but nobody sees how it is."
        => "Check the way to the API server, for example with `kubectl get --raw /readyz` from \
            another machine; look for NetworkPolicies that keep the agents' namespace from it.";
    5043 Error ApiServerRefuses:
        "The Kubernetes API server answers and does not allow what is needed."
        => "Look at the rights and the admission policies that the chart `lineside` makes: \
            `kubectl describe rolebinding -n NAMESPACE AGENT`.";
    5044 Error KubectlFailed:
        "kubectl is not there, or cannot ask the cluster."
        => "Install kubectl and choose the cluster, for example with `--context`; `kubectl cluster-info` \
            must work.";
    5045 Error KubernetesTooOld:
        "The cluster is older than the oldest release that Lineside runs on, Kubernetes 1.34."
        => "Upgrade the cluster; `kubectl version` shows its release.";
    5046 Error RightsMissing:
        "Whoever installs the charts lacks a right that the installation needs."
        => "Install as a cluster administrator, or have the right granted; `kubectl auth can-i \
            --list` shows yours.";
    5047 Error DefinitionsForeign:
        "Lineside's resource definitions are there already and were not installed by Helm, so \
         Helm will not touch them."
        => "Keep managing them as they were installed and leave out the chart `lineside-crds`, or \
            hand them over to it with `helm install --take-ownership`.";
    // Secrets
    6001 Error SecretNotFound:
        "The Secret, or the key in it, is not there. Standalone it is the file \
         `DIR/SECRET/KEY` below `--secrets DIR`."
        => "Create it; it is picked up without a restart.";
    6002 Error SecretInvalid:
        "The content of the Secret cannot be used for what it is named for, for example a \
         certificate that is not PEM."
        => "Check the content; the message says what is wrong with it, never what it is.";
    6003 Error SecretTooLarge:
        "The content of the Secret is larger than 1 MiB, so it is not read."
        => "Put the right file there; certificates and passwords are much smaller.";
}
