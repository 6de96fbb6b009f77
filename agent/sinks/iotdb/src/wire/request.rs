//! Requests: each appends one frame.

use bytes::BytesMut;

use super::tablet::Tablet;
use super::thrift::{Type, Writer};

/// `TSProtocolVersion.IOTDB_SERVICE_PROTOCOL_V3`.
const PROTOCOL_V3: i32 = 2;

/// How a session is opened.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// User.
    pub username: &'a str,
    /// Password.
    pub password: &'a str,
    /// Speak the table model instead of the tree model.
    pub table: bool,
}

/// A call with one argument, a request struct.
fn call(out: &mut BytesMut, method: &str, sequence: i32, fields: impl FnOnce(&mut Writer<'_>)) {
    let mut writer = Writer::call(out, method, sequence);
    writer.field(1, Type::Struct);
    fields(&mut writer);
    writer.stop();
    writer.stop();
    writer.finish();
}

/// A call whose only argument is the session.
fn call_session(out: &mut BytesMut, method: &str, sequence: i32, session: i64) {
    let mut writer = Writer::call(out, method, sequence);
    field_i64(&mut writer, 1, session);
    writer.stop();
    writer.finish();
}

fn field_i64(writer: &mut Writer<'_>, id: i16, value: i64) {
    writer.field(id, Type::I64);
    writer.i64(value);
}

fn field_i32(writer: &mut Writer<'_>, id: i16, value: i32) {
    writer.field(id, Type::I32);
    writer.i32(value);
}

fn field_text(writer: &mut Writer<'_>, id: i16, text: &str) {
    writer.field(id, Type::Binary);
    writer.binary(text.as_bytes());
}

fn field_bool(writer: &mut Writer<'_>, id: i16, value: bool) {
    writer.field(id, Type::Bool);
    writer.bool(value);
}

/// `openSession`. Times are numbers on this interface, so the zone is only for people's queries.
pub fn open_session(out: &mut BytesMut, sequence: i32, login: Login<'_>) {
    call(out, "openSession", sequence, |w| {
        field_i32(w, 1, PROTOCOL_V3);
        field_text(w, 2, "UTC");
        field_text(w, 3, login.username);
        field_text(w, 4, login.password);
        w.field(5, Type::Map);
        let dialect = if login.table { "table" } else { "tree" };
        w.texts(&[("version", "V_1_0"), ("sql_dialect", dialect)]);
    });
}

/// `closeSession`.
pub fn close_session(out: &mut BytesMut, sequence: i32, session: i64) {
    call(out, "closeSession", sequence, |w| field_i64(w, 1, session));
}

/// `getTimeZone`: the cheapest question that is about a session.
pub fn get_time_zone(out: &mut BytesMut, sequence: i32, session: i64) {
    call_session(out, "getTimeZone", sequence, session);
}

/// `requestStatementId`.
pub fn request_statement_id(out: &mut BytesMut, sequence: i32, session: i64) {
    call_session(out, "requestStatementId", sequence, session);
}

/// `getProperties`: version and precision, without any privilege.
pub fn get_properties(out: &mut BytesMut, sequence: i32) {
    let mut writer = Writer::call(out, "getProperties", sequence);
    writer.stop();
    writer.finish();
}

/// `executeStatementV2`: a statement without a result set.
pub fn execute(out: &mut BytesMut, sequence: i32, session: i64, statement_id: i64, sql: &str) {
    call(out, "executeStatementV2", sequence, |w| {
        field_i64(w, 1, session);
        field_text(w, 2, sql);
        field_i64(w, 3, statement_id);
    });
}

/// `executeQueryStatementV2`: at most `rows` rows come with each answer.
pub fn query(
    out: &mut BytesMut,
    sequence: i32,
    session: i64,
    statement_id: i64,
    sql: &str,
    rows: i32,
) {
    call(out, "executeQueryStatementV2", sequence, |w| {
        field_i64(w, 1, session);
        field_text(w, 2, sql);
        field_i64(w, 3, statement_id);
        field_i32(w, 4, rows);
    });
}

/// `fetchResultsV2`: the next rows of a query.
pub fn fetch(
    out: &mut BytesMut,
    sequence: i32,
    (session, statement_id, query_id): (i64, i64, i64),
    sql: &str,
    rows: i32,
) {
    call(out, "fetchResultsV2", sequence, |w| {
        field_i64(w, 1, session);
        field_text(w, 2, sql);
        field_i32(w, 3, rows);
        field_i64(w, 4, query_id);
        field_bool(w, 5, true);
        field_i64(w, 7, statement_id);
    });
}

/// `closeOperation`: the rest of a query is not wanted.
pub fn close_operation(
    out: &mut BytesMut,
    sequence: i32,
    (session, statement_id, query_id): (i64, i64, i64),
) {
    call(out, "closeOperation", sequence, |w| {
        field_i64(w, 1, session);
        field_i64(w, 2, query_id);
        field_i64(w, 3, statement_id);
    });
}

/// `insertTablet`: one tablet. `table` says that its target is a table and its columns have
/// categories; in the tree model it is an aligned device.
pub fn insert_tablet(
    out: &mut BytesMut,
    sequence: i32,
    session: i64,
    tablet: &Tablet,
    table: bool,
) {
    call(out, "insertTablet", sequence, |w| {
        field_i64(w, 1, session);
        field_text(w, 2, &tablet.target);
        w.field(3, Type::List);
        put_names(w, tablet);
        w.field(4, Type::Binary);
        put_values(w, tablet);
        w.field(5, Type::Binary);
        put_times(w, tablet);
        w.field(6, Type::List);
        put_types(w, tablet);
        field_i32(w, 7, count(tablet.rows()));
        field_bool(w, 8, !table);
        if table {
            field_bool(w, 9, true);
            w.field(10, Type::List);
            w.list(Type::I8, tablet.columns.len());
            for column in &tablet.columns {
                w.i8(column.category.code());
            }
        }
    });
}

/// `insertTablets`: tablets of aligned devices, in one request.
pub fn insert_tablets(out: &mut BytesMut, sequence: i32, session: i64, tablets: &[Tablet]) {
    call(out, "insertTablets", sequence, |w| {
        field_i64(w, 1, session);
        each(w, 2, Type::Binary, tablets, |w, t| w.binary(t.target.as_bytes()));
        each(w, 3, Type::List, tablets, put_names);
        each(w, 4, Type::Binary, tablets, put_values);
        each(w, 5, Type::Binary, tablets, put_times);
        each(w, 6, Type::List, tablets, put_types);
        each(w, 7, Type::I32, tablets, |w, t| w.i32(count(t.rows())));
        field_bool(w, 8, true);
    });
}

fn each(
    w: &mut Writer<'_>,
    id: i16,
    of: Type,
    tablets: &[Tablet],
    put: impl Fn(&mut Writer<'_>, &Tablet),
) {
    w.field(id, Type::List);
    w.list(of, tablets.len());
    for tablet in tablets {
        put(w, tablet);
    }
}

fn put_names(w: &mut Writer<'_>, tablet: &Tablet) {
    w.list(Type::Binary, tablet.columns.len());
    for column in &tablet.columns {
        w.binary(column.name.as_bytes());
    }
}

fn put_types(w: &mut Writer<'_>, tablet: &Tablet) {
    w.list(Type::I32, tablet.columns.len());
    for column in &tablet.columns {
        w.i32(column.of.code().into());
    }
}

fn put_times(w: &mut Writer<'_>, tablet: &Tablet) {
    w.longs(&tablet.times);
}

fn put_values(w: &mut Writer<'_>, tablet: &Tablet) {
    let flags = tablet.null_flags();
    let values: usize = tablet.columns.iter().map(|c| c.values().len()).sum();
    let pieces = tablet.columns.iter().map(|c| c.values()).chain([flags.as_slice()]);
    w.pieces(values + flags.len(), pieces);
}

fn count(rows: usize) -> i32 {
    i32::try_from(rows).unwrap_or(i32::MAX)
}
