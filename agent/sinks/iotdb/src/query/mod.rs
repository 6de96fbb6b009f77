//! Reads back what the sink wrote: the last value of a point, its samples of a time, or numbers
//! over equal parts of a time. It owns one session of its own and never writes.
//!
//! ```text
//! question --> which columns has the device --> statements --pages--> answer, at most so long
//! ```
//! An answer is bounded by [`Question::most`]; while it is read, one page of rows is in memory
//! besides.

mod cells;
mod columns;
mod sql;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use lineside_core::secret::Secrets;
use lineside_core::{Fault, StatusCode, UnixNanos, Value};
use lineside_crds::model::{IotdbSettings, ObjectKey};

use crate::client::{Client, Credentials};
use crate::pack::Layout;
use crate::session::connect::Dial;
use crate::wire::Rows;
use cells::{at, nanos, status};
use columns::Columns;

/// Points of one statement; more make several.
const POINTS_AT_ONCE: usize = 100;
/// Values of one page.
const VALUES_AT_ONCE: usize = 20_000;

/// What is asked of a device. Times are nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The newest value of each point, and the newest quality when that is newer.
    Last,
    /// Samples from `from` to before `to`.
    Raw {
        /// First time.
        from: UnixNanos,
        /// Time behind the last one.
        to: UnixNanos,
    },
    /// Numbers over parts of the time that are `every` long.
    Windows {
        /// First time.
        from: UnixNanos,
        /// Time behind the last one.
        to: UnixNanos,
        /// Length of a part in nanoseconds, at least a tick of the server.
        every: i64,
    },
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The device.
    pub device: ObjectKey,
    /// Names of its points; none: all.
    pub points: Vec<String>,
    /// What of them.
    pub what: What,
    /// Most samples or windows of the answer. Those of one time stay together.
    pub most: usize,
}

/// One sample as the server has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its time.
    pub time: UnixNanos,
    /// The point.
    pub point: Arc<str>,
    /// Its value; `Null` for a Bad one.
    pub value: Value,
    /// Its quality; `None` where none was written.
    pub status: Option<StatusCode>,
}

/// A part of the time with at least one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Its first time.
    pub time: UnixNanos,
    /// The point.
    pub point: Arc<str>,
    /// Values in it.
    pub count: u64,
    /// Samples in it, those without a value too; `None` where no quality was written.
    pub samples: Option<u64>,
    /// Average; `None` without a number.
    pub average: Option<f64>,
    /// Least number.
    pub least: Value,
    /// Greatest number.
    pub greatest: Value,
    /// Last value.
    pub last: Value,
    /// The worst quality; `None` where none was written.
    pub worst: Option<StatusCode>,
}

/// What was found, in the order of times, and of points within a time.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// For [`What::Last`] and [`What::Raw`].
    Samples(Vec<Sample>),
    /// For [`What::Windows`].
    Windows(Vec<Window>),
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What was found.
    pub found: Found,
    /// Points that were asked for and have no column.
    pub unknown: Vec<String>,
    /// The answer is longer than it may be: its next part begins at this time.
    pub more_from: Option<UnixNanos>,
}

/// A session to read with.
pub struct Reader {
    client: Client,
    layout: Layout,
}

impl Reader {
    /// Opens a session at the destination of a pipeline. `credentials` stand for those that the
    /// settings name; `deadline` holds for the connection and for each answer.
    ///
    /// # Errors
    /// As a session of the sink.
    pub async fn open(
        settings: IotdbSettings,
        pipeline: &ObjectKey,
        secrets: &Secrets,
        credentials: Option<&Credentials>,
        deadline: Duration,
    ) -> Result<Self, Fault> {
        let settings = Arc::new(settings);
        let to_write = false;
        let dial = Dial { settings: &settings, deadline, pipeline, secrets, credentials, to_write };
        let connection = dial.connect(&AtomicUsize::new(0)).await?;
        Ok(Self { client: connection.client, layout: connection.layout })
    }

    /// Where it is.
    pub fn endpoint(&self) -> &str {
        &self.client.endpoint
    }

    /// Answers a question. A device that the server does not have has no points.
    ///
    /// # Errors
    /// The server refuses a statement, or the connection fails.
    pub async fn ask(&mut self, question: &Question) -> Result<Answer, Fault> {
        let all = self.columns(&question.device).await?;
        let (columns, unknown) = all.choose(&question.points);
        let mut more_from = None;
        let found = match question.what {
            What::Last => Found::Samples(self.last(&question.device, &columns).await?),
            What::Raw { from, to } => {
                let (samples, more) = self.raw(question, &columns, from, to).await?;
                more_from = more;
                Found::Samples(samples)
            }
            What::Windows { from, to, every } => {
                let (windows, more) = self.windows(question, &columns, (from, to), every).await?;
                more_from = more;
                Found::Windows(windows)
            }
        };
        Ok(Answer { found, unknown, more_from })
    }

    async fn columns(&mut self, device: &ObjectKey) -> Result<Columns, Fault> {
        let sql = sql::columns(&self.layout, device);
        let rows = match self.layout.is_table() {
            false => self.client.query(&sql, columns::MOST).await?,
            true => match self.client.try_query(&sql, columns::MOST).await? {
                Ok(rows) => rows,
                // TABLE_NOT_EXISTS, DATABASE_NOT_EXIST
                Err(status) if matches!(status.code, 550 | 500) => return Ok(Columns::default()),
                Err(status) => return Err(self.client.refused(&sql, &status)),
            },
        };
        Ok(Columns::read(&rows, self.layout.is_table(), self.layout.quality))
    }

    async fn last(&mut self, device: &ObjectKey, all: &Columns) -> Result<Vec<Sample>, Fault> {
        let mut samples = Vec::new();
        for columns in all.parts(POINTS_AT_ONCE) {
            let rows = self.client.query(&sql::last(&self.layout, device, columns), 1).await?;
            let mut next = 0;
            let mut take = |wanted: bool| {
                let value = if wanted { at(&rows, next, 0) } else { Value::Null };
                next += usize::from(wanted);
                value
            };
            for column in columns {
                let (value, time) = (take(column.of.is_some()), take(column.of.is_some()));
                let (quality, noticed) = (take(column.quality), take(column.quality));
                let precision = self.layout.precision;
                let (time, noticed) = (nanos(&time, precision), nanos(&noticed, precision));
                let point = column.point.clone();
                let newer = noticed.filter(|noticed| time.is_none_or(|time| *noticed > time));
                if let Some(time) = time {
                    let mut status = status(&quality);
                    if newer.is_some() {
                        status = self.status_at(device, column, time).await?;
                    }
                    samples.push(Sample { time, point: point.clone(), value, status });
                }
                if let Some(time) = newer {
                    let status = status(&quality);
                    samples.push(Sample { time, point, value: Value::Null, status });
                }
            }
        }
        Ok(samples)
    }

    /// The quality of a value that is not the newest sample.
    async fn status_at(
        &mut self,
        device: &ObjectKey,
        column: &columns::Column,
        time: UnixNanos,
    ) -> Result<Option<StatusCode>, Fault> {
        let only = std::slice::from_ref(column);
        let end = time.saturating_add(self.layout.precision.nanos());
        let sql = sql::raw(&self.layout, device, only, (time, end), 1);
        let rows = self.client.query(&sql, 1).await?;
        Ok(status(&at(&rows, sql::times(&self.layout) + usize::from(column.of.is_some()), 0)))
    }

    async fn raw(
        &mut self,
        question: &Question,
        columns: &Columns,
        from: UnixNanos,
        to: UnixNanos,
    ) -> Result<(Vec<Sample>, Option<UnixNanos>), Fault> {
        let columns = columns.all();
        let mut samples = Vec::new();
        if columns.is_empty() {
            return Ok((samples, None));
        }
        let limit = question.most + 1;
        let sql = sql::raw(&self.layout, &question.device, columns, (from, to), limit);
        let at_once = i32::try_from((VALUES_AT_ONCE / columns.len()).max(1)).unwrap_or(1);
        let mut pages = self.client.start(&sql, at_once).await?;
        let (mut more_from, mut seen) = (None, 0);
        'pages: while let Some(rows) = self.client.next_page(&mut pages).await? {
            for row in 0..rows.len() {
                let Some(time) = self.time(&rows, row) else { continue };
                let before = samples.len();
                seen += 1;
                let mut next = sql::times(&self.layout);
                for column in columns {
                    let value = match &column.of {
                        Some(_) => at(&rows, next, row),
                        None => Value::Null,
                    };
                    next += usize::from(column.of.is_some());
                    let status = match column.quality {
                        true => status(&at(&rows, next, row)),
                        false => None,
                    };
                    next += usize::from(column.quality);
                    if value != Value::Null || status.is_some() {
                        samples.push(Sample { time, point: column.point.clone(), value, status });
                    }
                }
                if samples.len() > question.most && before > 0 {
                    samples.truncate(before);
                    more_from = Some(time);
                    break 'pages;
                }
                // Rows of a table may have nothing of these points.
                if seen == limit {
                    more_from = Some(time.saturating_add(self.layout.precision.nanos()));
                }
            }
        }
        self.client.finish(pages).await?;
        Ok((samples, more_from))
    }

    async fn windows(
        &mut self,
        question: &Question,
        columns: &Columns,
        (from, to): (UnixNanos, UnixNanos),
        every: i64,
    ) -> Result<(Vec<Window>, Option<UnixNanos>), Fault> {
        let columns = columns.all();
        let tick = self.layout.precision.nanos();
        let every = (every / tick).max(1) * tick;
        let from = from.div_euclid(tick).saturating_mul(tick);
        // A window of no sample costs the server nearly as much as any.
        let most = i64::try_from((question.most / columns.len().max(1)).max(1)).unwrap_or(1);
        let end = from.saturating_add(every.saturating_mul(most)).min(to);
        let mut windows = Vec::new();
        for part in columns.chunks(POINTS_AT_ONCE) {
            let sql = sql::windows(&self.layout, &question.device, part, (from, end), every);
            let at_once = i32::try_from(VALUES_AT_ONCE / (7 * part.len())).unwrap_or(1);
            let mut pages = self.client.start(&sql, at_once.max(1)).await?;
            while let Some(rows) = self.client.next_page(&mut pages).await? {
                for row in 0..rows.len() {
                    let Some(time) = self.time(&rows, row) else { continue };
                    let mut next = sql::times(&self.layout);
                    let mut take = |wanted: bool| {
                        let value = if wanted { at(&rows, next, row) } else { Value::Null };
                        next += usize::from(wanted);
                        value
                    };
                    windows.extend(part.iter().filter_map(|c| cells::window(time, c, &mut take)));
                }
            }
            self.client.finish(pages).await?;
        }
        windows.sort_by_key(|window| window.time);
        Ok((windows, (end < to).then_some(end)))
    }

    /// The time of a row.
    fn time(&self, rows: &Rows, row: usize) -> Option<UnixNanos> {
        match self.layout.is_table() {
            false => rows.times.get(row).map(|tick| self.layout.precision.time(*tick)),
            true => nanos(&at(rows, 0, row), self.layout.precision),
        }
    }
}
