//! Answers: what they say, in values.

use super::Malformed;
use super::block::Shape;
use super::thrift::{Kind, Reader, Type};

/// Most statuses in one answer: one for each tablet of a request, or for each of its rows.
const MAX_STATUSES: usize = 16 * 1024;
/// Statuses inside statuses.
const MAX_DEPTH: u32 = 4;
/// Longest text of a status that is kept, in bytes.
const LONGEST_TEXT: usize = 2048;

/// `TSStatus`: what became of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Number of `TSStatusCode`.
    pub code: i32,
    /// What the server says, cut at 2 KiB.
    pub message: String,
    /// One for each part of the request, when the code is that of several.
    pub parts: Vec<Self>,
    /// The node that would have been the right one.
    pub redirect: Option<(String, u16)>,
}

/// The struct that a method gives, or what it has no struct for.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// Number of the request.
    pub sequence: i32,
    /// The result's struct.
    pub body: Result<Reader<'a>, String>,
}

/// Opens the answer to `method`. `body` is an error when the server could not call the method,
/// with what it says.
///
/// # Errors
/// It is no answer to that method.
pub fn reply<'a>(frame: &'a [u8], method: &str) -> Result<Answer<'a>, Malformed> {
    let mut reader = Reader(frame);
    let head = reader.head()?;
    if head.name != method.as_bytes() {
        return Err(Malformed("an answer to another method"));
    }
    let body = match head.kind {
        Kind::Reply => Ok(reader),
        Kind::Exception => Err(exception(&mut reader)?),
        Kind::Call => return Err(Malformed("a call where an answer is due")),
    };
    Ok(Answer { sequence: head.sequence, body })
}

/// `TApplicationException`: field 1 is a text.
fn exception(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let mut text = String::new();
    while let Some((id, of)) = reader.field()? {
        match (id, of) {
            (1, Type::Binary) => text = short(reader)?,
            _ => reader.skip(of)?,
        }
    }
    Ok(text)
}

/// Goes to the result of a method, field 0, which must be of this type.
fn result(reader: &mut Reader<'_>, wanted: Type) -> Result<(), Malformed> {
    match reader.field()? {
        Some((0, of)) if of == wanted => Ok(()),
        _ => Err(Malformed("an answer without a result")),
    }
}

/// The answer of a method that gives a `TSStatus`.
///
/// # Errors
/// It is none.
pub fn status(mut body: Reader<'_>) -> Result<Status, Malformed> {
    result(&mut body, Type::Struct)?;
    whole_status(&mut body)
}

/// The status in the answer of a method that gives a struct with one, in its first field.
///
/// # Errors
/// There is none.
pub fn first_status(mut body: Reader<'_>) -> Result<Status, Malformed> {
    result(&mut body, Type::Struct)?;
    while let Some((id, of)) = body.field()? {
        match (id, of) {
            (1, Type::Struct) => return whole_status(&mut body),
            _ => body.skip(of)?,
        }
    }
    Err(Malformed("an answer without a status"))
}

/// The answer of `requestStatementId`.
///
/// # Errors
/// It is none.
pub fn statement_id(mut body: Reader<'_>) -> Result<i64, Malformed> {
    result(&mut body, Type::I64)?;
    body.i64("a statement's number")
}

fn whole_status(reader: &mut Reader<'_>) -> Result<Status, Malformed> {
    read_status(reader, MAX_DEPTH, &mut { MAX_STATUSES })
}

fn read_status(reader: &mut Reader<'_>, depth: u32, left: &mut usize) -> Result<Status, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed("statuses nested too deeply"))?;
    let mut status = Status::default();
    let mut code = None;
    while let Some((id, of)) = reader.field()? {
        match (id, of) {
            (1, Type::I32) => code = Some(reader.i32("a status code")?),
            (2, Type::Binary) => status.message = short(reader)?,
            (3, Type::List) => {
                let (of, count) = reader.list("the parts of a status")?;
                if count > 0 && of != Type::Struct {
                    return Err(Malformed("the parts of a status"));
                }
                *left = left.checked_sub(count).ok_or(Malformed("too many statuses"))?;
                for _ in 0..count {
                    status.parts.push(read_status(reader, depth, left)?);
                }
            }
            (4, Type::Struct) => status.redirect = read_end_point(reader)?,
            _ => reader.skip(of)?,
        }
    }
    status.code = code.ok_or(Malformed("a status without a code"))?;
    Ok(status)
}

/// `TEndPoint`; `None` when it names no port.
fn read_end_point(reader: &mut Reader<'_>) -> Result<Option<(String, u16)>, Malformed> {
    let (mut host, mut port) = (String::new(), None);
    while let Some((id, of)) = reader.field()? {
        match (id, of) {
            (1, Type::Binary) => host = short(reader)?,
            (2, Type::I32) => port = u16::try_from(reader.i32("a port")?).ok(),
            _ => reader.skip(of)?,
        }
    }
    Ok(port.map(|port| (host, port)))
}

fn short(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let bytes = reader.binary("a text")?;
    let mut text = String::from_utf8_lossy(bytes.get(..LONGEST_TEXT).unwrap_or(bytes)).into_owned();
    text.truncate(text.floor_char_boundary(LONGEST_TEXT));
    Ok(text)
}

/// What `openSession` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Whether there is a session.
    pub status: Status,
    /// Its number.
    pub session: Option<i64>,
    /// The server's `TSProtocolVersion`; 2 is V3.
    pub protocol: i32,
}

/// The answer of `openSession`.
///
/// # Errors
/// It is none.
pub fn opened(mut body: Reader<'_>) -> Result<Opened, Malformed> {
    result(&mut body, Type::Struct)?;
    let (mut found, mut session, mut protocol) = (None, None, None);
    while let Some((id, of)) = body.field()? {
        match (id, of) {
            (1, Type::Struct) => found = Some(whole_status(&mut body)?),
            (2, Type::I32) => protocol = Some(body.i32("a protocol version")?),
            (3, Type::I64) => session = Some(body.i64("a session's number")?),
            _ => body.skip(of)?,
        }
    }
    let status = found.ok_or(Malformed("an answer without a status"))?;
    let protocol = protocol.ok_or(Malformed("an answer without a protocol version"))?;
    Ok(Opened { status, session, protocol })
}

/// What `getProperties` gives, as far as it is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Version, e.g. `2.0.10`.
    pub version: String,
    /// Unit of times: `ms`, `us` or `ns`.
    pub precision: String,
    /// Longest request that the server takes, in bytes.
    pub longest_frame: Option<i32>,
}

/// The answer of `getProperties`.
///
/// # Errors
/// It is none.
pub fn properties(mut body: Reader<'_>) -> Result<Properties, Malformed> {
    result(&mut body, Type::Struct)?;
    let mut properties = Properties::default();
    while let Some((id, of)) = body.field()? {
        match (id, of) {
            (1, Type::Binary) => properties.version = short(&mut body)?,
            (3, Type::Binary) => properties.precision = short(&mut body)?,
            (5, Type::I32) => properties.longest_frame = Some(body.i32("a frame's length")?),
            _ => body.skip(of)?,
        }
    }
    Ok(properties)
}

/// What `executeStatementV2` and `executeQueryStatementV2` give.
#[derive(Clone, Debug, PartialEq)]
pub struct Executed {
    /// Whether it was done.
    pub status: Status,
    /// The query, when there are rows to come.
    pub query: Option<i64>,
    /// What its blocks look like.
    pub shape: Shape,
    /// Blocks that came along, to be read with [`Shape::read`].
    pub blocks: Vec<Vec<u8>>,
    /// Whether there are more of them.
    pub more: bool,
}

/// The answer of a statement or query.
///
/// # Errors
/// It is none.
pub fn executed(mut body: Reader<'_>) -> Result<Executed, Malformed> {
    result(&mut body, Type::Struct)?;
    let mut found = None;
    let (mut query, mut blocks, mut more) = (None, Vec::new(), false);
    let mut shape = Shape::default();
    while let Some((id, of)) = body.field()? {
        match (id, of) {
            (1, Type::Struct) => found = Some(whole_status(&mut body)?),
            (2, Type::I64) => query = Some(body.i64("a query's number")?),
            (3, Type::List) => {
                shape.names = body.list_of(Type::Binary, "column names", |r| r.text("a name"))?;
            }
            (5, Type::Bool) => shape.timeless = body.bool("whether there is a time")?,
            (6, Type::List) => {
                shape.types = body.list_of(Type::Binary, "column types", |r| r.text("a type"))?;
            }
            (9, Type::Map) => shape.by_name = read_indexes(&mut body)?,
            (13, Type::List) => blocks = read_blocks(&mut body)?,
            (14, Type::Bool) => more = body.bool("whether there is more")?,
            (17, Type::List) => {
                let what = "places of columns";
                shape.places = Some(body.list_of(Type::I32, what, |r| r.i32(what))?);
            }
            _ => body.skip(of)?,
        }
    }
    let status = found.ok_or(Malformed("an answer without a status"))?;
    Ok(Executed { status, query, shape, blocks, more })
}

fn read_blocks(body: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, Malformed> {
    body.list_of(Type::Binary, "blocks", |r| Ok(r.binary("a block")?.to_vec()))
}

fn read_indexes(body: &mut Reader<'_>) -> Result<Vec<(String, i32)>, Malformed> {
    let what = "places of columns by name";
    // Key and value types; an empty map may have any.
    let _types = body.bytes(2, what)?;
    let count = body.length(8, what)?;
    (0..count).map(|_| Ok((body.text(what)?, body.i32(what)?))).collect()
}

/// What `fetchResultsV2` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Whether it was done.
    pub status: Status,
    /// The next blocks.
    pub blocks: Vec<Vec<u8>>,
    /// Whether there are more of them.
    pub more: bool,
}

/// The answer of `fetchResultsV2`.
///
/// # Errors
/// It is none.
pub fn fetched(mut body: Reader<'_>) -> Result<Fetched, Malformed> {
    result(&mut body, Type::Struct)?;
    let (mut found, mut blocks, mut more) = (None, Vec::new(), false);
    while let Some((id, of)) = body.field()? {
        match (id, of) {
            (1, Type::Struct) => found = Some(whole_status(&mut body)?),
            (6, Type::List) => blocks = read_blocks(&mut body)?,
            (7, Type::Bool) => more = body.bool("whether there is more")?,
            _ => body.skip(of)?,
        }
    }
    let status = found.ok_or(Malformed("an answer without a status"))?;
    Ok(Fetched { status, blocks, more })
}
