//! One session: connect, deliver until something ends it, leave in order.
//!
//! One task does everything, in one loop, so nothing is shared and dropping the future drops the
//! connection:
//!
//! ```text
//! feed --> draft --> calls --+--> outbox --write--> server
//!           pieces ----------+                        |
//!             ^                                       |
//!             +-- refused -- in flight <----read------+
//! feed <-- settle <-- unconfirmed <-- accepted
//! ```
//!
//! Several requests are under way at a time, and the server answers them in their order: it reads
//! the next one of a connection when it has answered the one before.

mod books;
pub(crate) mod connect;
mod cut;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::BytesMut;
use futures::FutureExt;
use lineside_core::driver::Ended;
use lineside_core::sink::{Feed, Record, SinkContext};
use lineside_core::{Fault, FaultClass};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::IotdbSettings;
use lineside_net::{Outbox, Stream, broken};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use crate::Deadlines;
use crate::client::{accepted, closed, exception, malformed};
use crate::pack::{Call, Packed, Packer, Share};
use crate::verdict::{Refused, Verdict, judge};
use crate::wire::{self, Malformed};
use books::Books;
use cut::{Cut, cut};

/// Time to say goodbye, inside the second that the contract gives.
const GOODBYE: Duration = Duration::from_millis(700);
/// Most requests without an answer. The server works on one; the others are there when it is done.
const MAX_IN_FLIGHT: usize = 4;

pub(crate) async fn run(
    settings: Arc<IotdbSettings>,
    deadlines: Deadlines,
    first: Arc<AtomicUsize>,
    context: SinkContext,
) -> Ended {
    let SinkContext { identity, secrets, mut feed, state, cancel, .. } = context;
    let dial = connect::Dial {
        settings: &settings,
        deadline: deadlines.connect,
        pipeline: &identity.pipeline,
        secrets: &secrets,
        credentials: None,
        to_write: true,
    };
    let connected = tokio::select! {
        biased;
        () = cancel.cancelled() => return Ended::Cancelled,
        connected = dial.connect(&first) => connected,
    };
    let connect::Connection { client, layout, node } = match connected {
        Ok(connection) => connection,
        Err(fault) => return Ended::Failed(fault),
    };
    state.connected(&client.endpoint);

    let mut stream = client.stream;
    let mut session = Session {
        id: client.session,
        sequence: client.sequence,
        endpoint: client.endpoint,
        deadlines,
        inbox: client.inbox,
        outbox: Outbox::default(),
        table: layout.is_table(),
        statement: None,
        packer: Packer::new(layout),
        books: Books::new(settings.resend),
        taken: VecDeque::new(),
        calls: VecDeque::new(),
        pieces: VecDeque::new(),
        in_flight: VecDeque::new(),
        last_sent: Instant::now(),
        last_progress: Instant::now(),
    };
    let delivered = tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        fault = session.deliver(&mut *stream, &mut *feed) => Some(fault),
    };
    match delivered {
        Some(fault) => {
            // The next session begins with another node, if there is one.
            connect::avoid(&first, node, settings.nodes.len());
            Ended::Failed(fault)
        }
        None => {
            // The server may be the reason for the end, so its part is bounded.
            let _ = timeout(GOODBYE, session.say_goodbye(&mut *stream, &mut *feed)).await;
            Ended::Cancelled
        }
    }
}

/// A connected session.
struct Session {
    /// The server's number of it.
    id: i64,
    sequence: i32,
    endpoint: String,
    deadlines: Deadlines,
    inbox: BytesMut,
    outbox: Outbox,
    /// The table model is spoken.
    table: bool,
    /// The server's number for statements, once it was needed.
    statement: Option<i64>,
    packer: Packer,
    books: Books,
    /// Records that are in no request yet: at most one that did not fit into the one before, and
    /// one behind it.
    taken: VecDeque<Record>,
    /// Requests that wait for room.
    calls: VecDeque<Call>,
    /// Parts of refused requests, to be tried alone.
    pieces: VecDeque<Share>,
    /// Oldest first, which is the order of the answers.
    in_flight: VecDeque<Sent>,
    /// When bytes last left the outbox.
    last_sent: Instant,
    /// When the server last did what is due: answer, or take bytes that it has to have before it
    /// can.
    last_progress: Instant,
}

/// A request without an answer.
struct Sent {
    sequence: i32,
    asked: Asked,
    at: Instant,
    /// Position in the stream of the byte after its last one.
    end: u64,
}

/// What was asked for.
enum Asked {
    /// `insertTablet` or `insertTablets`.
    Insert { method: &'static str, shares: Vec<Share> },
    /// `getTimeZone`.
    Alive,
    /// `requestStatementId`, for statements that make a schema.
    Statement(Making),
    /// `executeStatementV2`: the first of these statements.
    Make(Making),
    /// `closeSession`.
    Close,
}

/// Samples that may be taken when some statements have been run.
struct Making {
    share: Share,
    statements: VecDeque<String>,
}

impl Asked {
    fn method(&self) -> &'static str {
        match self {
            Self::Insert { method, .. } => method,
            Self::Alive => "getTimeZone",
            Self::Statement(_) => "requestStatementId",
            Self::Make(_) => "executeStatementV2",
            Self::Close => "closeSession",
        }
    }
}

impl Session {
    /// Delivers records until the connection fails.
    async fn deliver(&mut self, stream: &mut dyn Stream, feed: &mut dyn Feed) -> Fault {
        let (mut reader, mut writer) = tokio::io::split(stream);
        loop {
            if let Err(fault) = self.take_answers(feed) {
                return fault;
            }
            self.send(feed);
            let deadline = self.deadline();
            let flushed = self.outbox.flushed();
            tokio::select! {
                biased;
                read = reader.read_buf(&mut self.inbox) => match read {
                    Ok(0) => return closed(&self.endpoint),
                    Ok(_) => {}
                    Err(e) => return broken(&format!("read from {}", self.endpoint), e),
                },
                written = self.outbox.write(&mut writer), if self.outbox.is_pending() => {
                    if let Err(e) = written {
                        return broken(&format!("write to {}", self.endpoint), e);
                    }
                    self.note_written(flushed);
                },
                () = sleep_until(deadline) => {
                    if let Err(fault) = self.watch() {
                        return fault;
                    }
                }
                record = feed.next(), if self.wants_record() => self.taken.push_back(record),
            }
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < MAX_IN_FLIGHT && self.outbox.has_room()
    }

    fn wants_record(&self) -> bool {
        self.taken.is_empty()
            && self.calls.is_empty()
            && self.pieces.is_empty()
            && self.has_room()
            && self.books.has_room()
    }

    /// Queues as many requests as there is room for.
    fn send(&mut self, feed: &mut dyn Feed) {
        while self.has_room() {
            if let Some(piece) = self.pieces.pop_front() {
                self.send_again(&piece);
            } else if let Some(call) = self.calls.pop_front() {
                self.insert(call);
            } else if !self.taken.is_empty() && self.books.has_room() {
                self.pack(feed);
            } else {
                break;
            }
        }
        self.books.tell(feed);
    }

    /// Packs the records that were taken, and what the feed has at once, into requests.
    fn pack(&mut self, feed: &mut dyn Feed) {
        let mut draft = self.packer.draft(Instant::now().into_std());
        while !draft.is_full() && self.books.has_room() {
            let next = self.taken.pop_front().or_else(|| feed.next().now_or_never());
            let Some(record) = next else { break };
            match self.packer.add(&mut draft, &record) {
                Packed::Taken(excluded) => self.books.begin(&record, excluded),
                Packed::Collides => {
                    self.taken.push_front(record);
                    break;
                }
            }
        }
        let calls = draft.into_calls();
        self.books.expect(&calls);
        self.calls.extend(calls);
    }

    /// Packs a part of a refused request. What is known to be refused by now is left out.
    fn send_again(&mut self, piece: &Share) {
        let mut draft = self.packer.draft(Instant::now().into_std());
        let samples = piece.indexes();
        let excluded = self.packer.add_again(&mut draft, &piece.record, &samples);
        let calls = draft.into_calls();
        self.books.expect(&calls);
        self.books.exclude(&piece.record.id, excluded);
        for call in calls {
            self.insert(call);
        }
    }

    fn insert(&mut self, Call { tablets, shares }: Call) {
        let (id, table) = (self.id, self.table);
        match tablets.as_slice() {
            [tablet] => {
                let method = "insertTablet";
                self.ask(Asked::Insert { method, shares }, |out, sequence| {
                    wire::insert_tablet(out, sequence, id, tablet, table);
                });
            }
            _ => {
                let method = "insertTablets";
                self.ask(Asked::Insert { method, shares }, |out, sequence| {
                    wire::insert_tablets(out, sequence, id, &tablets);
                });
            }
        }
    }

    /// Queues one request.
    fn ask(&mut self, asked: Asked, encode: impl FnOnce(&mut BytesMut, i32)) {
        let at = Instant::now();
        if self.in_flight.is_empty() {
            self.last_progress = at;
        }
        self.sequence = self.sequence.wrapping_add(1);
        encode(&mut self.outbox.buffer, self.sequence);
        let end = self.outbox.end();
        self.in_flight.push_back(Sent { sequence: self.sequence, asked, at, end });
    }

    /// Takes every whole answer that has arrived.
    fn take_answers(&mut self, feed: &mut dyn Feed) -> Result<(), Fault> {
        loop {
            let frame = wire::frame(&mut self.inbox);
            let frame = frame.map_err(|e| malformed(&self.endpoint, "a request", e))?;
            let Some(frame) = frame else { return Ok(()) };
            let sent = self.in_flight.pop_front();
            let sent = sent.ok_or_else(|| {
                malformed(&self.endpoint, "nothing", Malformed("an answer that nobody asked for"))
            })?;
            self.last_progress = Instant::now();
            self.take_answer(&frame, sent, feed)?;
        }
    }

    fn take_answer(&mut self, frame: &[u8], sent: Sent, feed: &mut dyn Feed) -> Result<(), Fault> {
        let method = sent.asked.method();
        let bad = |e| malformed(&self.endpoint, method, e);
        let answer = wire::reply(frame, method).map_err(bad)?;
        if answer.sequence != sent.sequence {
            return Err(bad(Malformed("an answer to another request")));
        }
        let body = answer.body.map_err(|text| exception(&self.endpoint, method, &text))?;
        match sent.asked {
            Asked::Insert { shares, .. } => {
                let status = wire::status(body).map_err(bad)?;
                match judge(&status) {
                    Verdict::Accepted => self.books.delivered(&shares),
                    Verdict::Refused(refused) => self.refused(shares, &refused),
                    Verdict::Failed { class, code, message } => {
                        let text = format!("insert at {}", self.endpoint);
                        return Err(Fault::new(class, code, text).because(message));
                    }
                }
            }
            Asked::Alive => {
                let status = wire::first_status(body).map_err(bad)?;
                accepted(&self.endpoint, "ask for a sign of life", &status)?;
            }
            Asked::Statement(making) => {
                self.statement = Some(wire::statement_id(body).map_err(bad)?);
                self.make(making);
            }
            Asked::Make(making) => {
                let status = wire::first_status(body).map_err(bad)?;
                // What is there already is refused, and so may be the samples, with the reason.
                if let Verdict::Failed { class, code, message } = judge(&status) {
                    let text = format!("make a schema at {}", self.endpoint);
                    return Err(Fault::new(class, code, text).because(message));
                }
                self.make(making);
            }
            Asked::Close => {}
        }
        // The server was there when this request reached it.
        self.books.confirm(sent.at);
        self.books.tell(feed);
        Ok(())
    }

    /// The server refuses some of these samples: which, is found by sending them in parts.
    /// Writing again what it took of them changes nothing.
    fn refused(&mut self, shares: Vec<Share>, refused: &Refused) {
        if shares.len() > 1 {
            self.pieces.extend(shares);
            return;
        }
        for share in shares {
            let id = share.record.id.clone();
            let cut = cut(&share, refused.reach);
            if refused.missing {
                let statements = self.packer.schema(&share, matches!(cut, Cut::Whole)).into();
                let making = Making { share: share.clone(), statements };
                if !making.statements.is_empty() {
                    self.make(making);
                    continue;
                }
            }
            match cut {
                Cut::Halves(halves) => {
                    self.books.split(&id);
                    // Before everything else, so that few parts wait at any time.
                    halves.into_iter().rev().for_each(|half| self.pieces.push_front(half));
                }
                Cut::Whole => {
                    self.packer.note_refused(&share, refused, Instant::now().into_std());
                    self.books.refused(&id, refused, share.indexes());
                }
            }
        }
    }

    /// Runs the next statement; after the last one the samples are sent again.
    fn make(&mut self, mut making: Making) {
        let id = self.id;
        let Some(statement) = self.statement else {
            self.ask(Asked::Statement(making), |out, sequence| {
                wire::request_statement_id(out, sequence, id);
            });
            return;
        };
        let Some(sql) = making.statements.pop_front() else {
            self.pieces.push_front(making.share);
            return;
        };
        self.ask(Asked::Make(making), |out, sequence| {
            wire::execute(out, sequence, id, statement, &sql);
        });
    }

    /// Whether bytes that left the outbox are progress. A slow line takes its time for a large
    /// request, and the server cannot answer what it has not got. But bytes behind the request
    /// whose answer is due prove nothing: the sockets of a dead connection take some for very
    /// long. Everything up to `before` had left earlier.
    fn note_written(&mut self, before: u64) {
        self.last_sent = Instant::now();
        if self.in_flight.front().is_none_or(|sent| before < sent.end) {
            self.last_progress = self.last_sent;
        }
    }

    /// When [`Session::watch`] has something to do.
    fn deadline(&self) -> Instant {
        if !self.in_flight.is_empty() {
            return self.last_progress + self.deadlines.silence;
        }
        self.ask_at()
    }

    /// When the server is asked whether it is there: after a long pause, and when that settles
    /// records.
    fn ask_at(&self) -> Instant {
        let idle = self.last_sent + self.deadlines.keep_alive;
        self.books.safe_at().map_or(idle, |at| at.min(idle))
    }

    /// Ends a silent session and keeps an idle one alive.
    fn watch(&mut self) -> Result<(), Fault> {
        let now = Instant::now();
        if !self.in_flight.is_empty() {
            let silence = self.deadlines.silence;
            if now < self.last_progress + silence {
                return Ok(());
            }
            let text = format!("{}: the server did not answer for {silence:?}", self.endpoint);
            return Err(Fault::new(FaultClass::Timeout, Code::SinkSilent, text));
        }
        if now >= self.ask_at() {
            let id = self.id;
            self.ask(Asked::Alive, |out, sequence| wire::get_time_zone(out, sequence, id));
        }
        Ok(())
    }

    /// Closes the session, and takes the answers that are still on their way.
    async fn say_goodbye(&mut self, stream: &mut dyn Stream, feed: &mut dyn Feed) {
        let id = self.id;
        self.ask(Asked::Close, |out, sequence| wire::close_session(out, sequence, id));
        while self.outbox.is_pending() {
            if self.outbox.write(stream).await.is_err() {
                return;
            }
        }
        while !self.in_flight.is_empty() {
            if self.take_answers(feed).is_err() || self.in_flight.is_empty() {
                break;
            }
            match stream.read_buf(&mut self.inbox).await {
                Ok(count) if count > 0 => {}
                _ => return,
            }
        }
        let _ = stream.shutdown().await;
    }
}
