//! A connection to one server, one request at a time: opening a session, statements, queries.
//! Insertions of a sink go through its session, which takes the connection over.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lineside_core::{Fault, FaultClass};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::Node;
use lineside_net::{Stream, TlsClient, broken, open};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::verdict::{Verdict, judge, said};
use crate::wire::{
    self, Executed, Login, Malformed, Properties, ResultColumn, Rows, Shape, Status, Tablet,
    thrift::Reader,
};

/// The protocol version that is spoken, V3, which 1.0 and later have.
const PROTOCOL: i32 = 2;
/// Rows that a query asks for at a time.
const ROWS_AT_ONCE: i32 = 1000;

/// User name and password.
#[derive(Clone)]
pub struct Credentials {
    /// User.
    pub username: String,
    /// Password.
    pub password: String,
}

impl Default for Credentials {
    /// Those of a server on which nobody has changed them.
    fn default() -> Self {
        Self { username: "root".to_owned(), password: "root".to_owned() }
    }
}

/// An open session on one server.
pub struct Client {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) inbox: BytesMut,
    /// The server's number of the session.
    pub(crate) session: i64,
    pub(crate) sequence: i32,
    /// Where the server is, for people.
    pub endpoint: String,
    /// What the server says of itself.
    pub properties: Properties,
    /// Number of a statement; made at the first one.
    statement: Option<i64>,
    deadline: Duration,
}

impl Client {
    /// Dials, opens a session and asks for version and precision, all within `deadline`, which
    /// later statements have each.
    ///
    /// # Errors
    /// The class and code of the first thing that went wrong.
    pub async fn connect(
        node: &Node,
        tls: Option<TlsClient>,
        credentials: &Credentials,
        table: bool,
        deadline: Duration,
    ) -> Result<Self, Fault> {
        match timeout(deadline, Self::attempt(node, tls, credentials, table, deadline)).await {
            Ok(result) => result,
            Err(_) => {
                let text = format!("open a session at {node}: no answer within {deadline:?}");
                Err(Fault::new(FaultClass::Timeout, Code::SinkTimeout, text))
            }
        }
    }

    async fn attempt(
        node: &Node,
        tls: Option<TlsClient>,
        credentials: &Credentials,
        table: bool,
        deadline: Duration,
    ) -> Result<Self, Fault> {
        let stream = open(&node.host, node.port, tls, deadline).await?;
        let mut client = Self {
            stream,
            inbox: BytesMut::new(),
            session: 0,
            sequence: 0,
            endpoint: node.to_string(),
            properties: Properties::default(),
            statement: None,
            deadline,
        };
        let Credentials { username, password } = credentials;
        let login = Login { username, password, table };
        let opened = client
            .ask(
                "openSession",
                |out, sequence| wire::open_session(out, sequence, login),
                wire::opened,
            )
            .await?;
        client.accepted("open a session", &opened.status)?;
        if opened.protocol != PROTOCOL {
            let what = "speaks another version of the protocol; 1.0 or later is needed";
            let text = format!("open a session at {}: it {what}", client.endpoint);
            return Err(Fault::new(FaultClass::Config, Code::SinkProtocol, text));
        }
        client.session = opened
            .session
            .ok_or_else(|| client.malformed("openSession", Malformed("no session's number")))?;
        client.properties =
            client.ask("getProperties", wire::get_properties, wire::properties).await?;
        Ok(client)
    }

    /// Runs a statement that has no result set.
    ///
    /// # Errors
    /// The server refuses it, or the connection fails.
    pub async fn execute(&mut self, sql: &str) -> Result<(), Fault> {
        let status = self.try_execute(sql).await?;
        self.accepted(&format!("run {sql:?}"), &status)
    }

    /// The same for a statement that may be refused.
    ///
    /// # Errors
    /// The connection fails.
    pub async fn try_execute(&mut self, sql: &str) -> Result<Status, Fault> {
        let (session, statement) = (self.session, self.statement().await?);
        let executed = self.within(
            "executeStatementV2",
            |out, sequence| wire::execute(out, sequence, session, statement, sql),
            wire::executed,
        );
        Ok(executed.await?.status)
    }

    /// All rows of a query, which has to be known to have few.
    ///
    /// # Errors
    /// The server refuses it, the connection fails, or there are more rows than `most`.
    pub async fn query(&mut self, sql: &str, most: usize) -> Result<Rows, Fault> {
        let pages = self.start(sql, ROWS_AT_ONCE).await?;
        self.all(pages, most).await
    }

    async fn all(&mut self, mut pages: Pages, most: usize) -> Result<Rows, Fault> {
        let mut rows = pages.shape.empty().map_err(|e| self.malformed("the result set", e))?;
        while let Some(next) = self.next_page(&mut pages).await? {
            rows.append(next).map_err(|e| self.malformed("a block", e))?;
            if rows.len() > most {
                let (sql, endpoint) = (&pages.sql, &self.endpoint);
                let text = format!("run {sql:?} at {endpoint}: more than {most} rows");
                return Err(Fault::new(FaultClass::Overload, Code::SinkProtocol, text));
            }
        }
        self.finish(pages).await?;
        Ok(rows)
    }

    /// The same for a query that may be refused.
    ///
    /// # Errors
    /// The connection fails, or there are more rows than `most`.
    pub async fn try_query(
        &mut self,
        sql: &str,
        most: usize,
    ) -> Result<Result<Rows, Status>, Fault> {
        match self.try_start(sql, ROWS_AT_ONCE).await? {
            Ok(pages) => self.all(pages, most).await.map(Ok),
            Err(status) => Ok(Err(status)),
        }
    }

    /// The fault of a query that was refused.
    pub fn refused(&self, sql: &str, status: &Status) -> Fault {
        let what = format!("run {sql:?}");
        let other = || Fault::new(FaultClass::Peer, Code::SinkInternal, what.clone());
        self.accepted(&what, status).err().unwrap_or_else(other)
    }

    /// Starts a query whose rows come in pages of about `at_once`.
    ///
    /// # Errors
    /// The server refuses it, or the connection fails.
    pub async fn start(&mut self, sql: &str, at_once: i32) -> Result<Pages, Fault> {
        self.try_start(sql, at_once).await?.map_err(|status| self.refused(sql, &status))
    }

    async fn try_start(&mut self, sql: &str, at_once: i32) -> Result<Result<Pages, Status>, Fault> {
        let (session, statement) = (self.session, self.statement().await?);
        let executed = self
            .within(
                "executeQueryStatementV2",
                |out, sequence| wire::query(out, sequence, session, statement, sql, at_once),
                wire::executed,
            )
            .await?;
        let Executed { status, query, shape, blocks, more } = executed;
        if judge(&status) != Verdict::Accepted {
            return Ok(Err(status));
        }
        let (sql, ids) = (sql.to_owned(), (session, statement, query.unwrap_or_default()));
        Ok(Ok(Pages { sql, ids, shape, blocks: blocks.into(), more, at_once }))
    }

    /// The next rows; `None` after the last ones.
    ///
    /// # Errors
    /// The server fails, or the connection.
    pub async fn next_page(&mut self, pages: &mut Pages) -> Result<Option<Rows>, Fault> {
        loop {
            if let Some(block) = pages.blocks.pop_front() {
                let rows = pages.shape.read(&block);
                return rows.map(Some).map_err(|e| self.malformed("a block", e));
            }
            if !pages.more {
                return Ok(None);
            }
            let Pages { sql, ids, at_once, .. } = &*pages;
            let fetched = self
                .within(
                    "fetchResultsV2",
                    |out, sequence| wire::fetch(out, sequence, *ids, sql, *at_once),
                    wire::fetched,
                )
                .await?;
            self.accepted(&format!("fetch rows of {sql:?}"), &fetched.status)?;
            (pages.blocks, pages.more) = (fetched.blocks.into(), fetched.more);
        }
    }

    /// Tells the server that no more rows are wanted.
    ///
    /// # Errors
    /// The server fails, or the connection.
    pub async fn finish(&mut self, pages: Pages) -> Result<(), Fault> {
        let ids = pages.ids;
        let close = |out: &mut BytesMut, sequence| wire::close_operation(out, sequence, ids);
        let closed = self.within("closeOperation", close, wire::status).await?;
        self.accepted("end a query", &closed)
    }

    /// Inserts one tablet; what the server says of it.
    ///
    /// # Errors
    /// The connection fails.
    pub async fn insert(&mut self, tablet: &Tablet, table: bool) -> Result<Status, Fault> {
        let session = self.session;
        let insert = |out: &mut BytesMut, sequence| {
            wire::insert_tablet(out, sequence, session, tablet, table);
        };
        self.within("insertTablet", insert, wire::status).await
    }

    /// Ends the session in order.
    ///
    /// # Errors
    /// The connection fails.
    pub async fn close(mut self) -> Result<(), Fault> {
        let session = self.session;
        let close = |out: &mut BytesMut, sequence| wire::close_session(out, sequence, session);
        self.within("closeSession", close, wire::status).await.map(drop)
    }

    async fn statement(&mut self) -> Result<i64, Fault> {
        if let Some(statement) = self.statement {
            return Ok(statement);
        }
        let session = self.session;
        let ask = |out: &mut BytesMut, sequence| wire::request_statement_id(out, sequence, session);
        let statement = self.within("requestStatementId", ask, wire::statement_id).await?;
        self.statement = Some(statement);
        Ok(statement)
    }

    /// One request and its answer, with the deadline.
    async fn within<T>(
        &mut self,
        method: &'static str,
        encode: impl FnOnce(&mut BytesMut, i32),
        decode: impl FnOnce(Reader<'_>) -> Result<T, Malformed>,
    ) -> Result<T, Fault> {
        let deadline = self.deadline;
        let late = format!("{method} at {}: no answer within {deadline:?}", self.endpoint);
        timeout(deadline, self.ask(method, encode, decode))
            .await
            .unwrap_or_else(|_| Err(Fault::new(FaultClass::Timeout, Code::SinkSilent, late)))
    }

    async fn ask<T>(
        &mut self,
        method: &'static str,
        encode: impl FnOnce(&mut BytesMut, i32),
        decode: impl FnOnce(Reader<'_>) -> Result<T, Malformed>,
    ) -> Result<T, Fault> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut out = BytesMut::new();
        encode(&mut out, self.sequence);
        let lost = |e| broken(&format!("{method} at {}", self.endpoint), e);
        self.stream.write_all(&out).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        let frame = self.read_frame(method).await?;
        let answer = wire::reply(&frame, method).map_err(|e| self.malformed(method, e))?;
        if answer.sequence != self.sequence {
            return Err(self.malformed(method, Malformed("an answer to another request")));
        }
        match answer.body {
            Ok(body) => decode(body).map_err(|e| self.malformed(method, e)),
            Err(text) => Err(exception(&self.endpoint, method, &text)),
        }
    }

    async fn read_frame(&mut self, method: &str) -> Result<Bytes, Fault> {
        loop {
            match wire::frame(&mut self.inbox) {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(e) => return Err(self.malformed(method, e)),
            }
            let read = self.stream.read_buf(&mut self.inbox).await;
            if read.map_err(|e| broken(&format!("{method} at {}", self.endpoint), e))? == 0 {
                return Err(closed(&self.endpoint));
            }
        }
    }

    fn malformed(&self, what: &str, error: Malformed) -> Fault {
        malformed(&self.endpoint, what, error)
    }

    fn accepted(&self, what: &str, status: &Status) -> Result<(), Fault> {
        accepted(&self.endpoint, what, status)
    }
}

/// A query that is under way: at most one page of its rows is here at a time.
#[derive(Debug)]
pub struct Pages {
    sql: String,
    /// Numbers of session, statement and query.
    ids: (i64, i64, i64),
    shape: Shape,
    blocks: VecDeque<Vec<u8>>,
    more: bool,
    at_once: i32,
}

/// A fault unless the server did what it was asked for.
pub(crate) fn accepted(endpoint: &str, what: &str, status: &Status) -> Result<(), Fault> {
    let (class, code) = match judge(status) {
        Verdict::Accepted => return Ok(()),
        // What is refused for good here was asked for by the settings.
        Verdict::Refused(_) => (FaultClass::Config, Code::SinkInternal),
        Verdict::Failed { class, code, .. } => (class, code),
    };
    Err(Fault::new(class, code, format!("{what} at {endpoint}")).because(said(status)))
}

pub(crate) fn malformed(endpoint: &str, what: &str, error: Malformed) -> Fault {
    let text = format!("read the answer of {endpoint} to {what}");
    Fault::new(FaultClass::Peer, Code::SinkProtocol, text).because(error)
}

pub(crate) fn exception(endpoint: &str, method: &str, text: &str) -> Fault {
    let what = format!("{method} at {endpoint}");
    Fault::new(FaultClass::Peer, Code::SinkProtocol, what).because(text)
}

pub(crate) fn closed(endpoint: &str) -> Fault {
    let text = format!("read from {endpoint}: the server closed the connection");
    Fault::new(FaultClass::Unreachable, Code::SinkUnavailable, text)
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.columns.first().map_or(self.times.len(), |column| column.values.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&ResultColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}
