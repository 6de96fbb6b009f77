"""The official Python client of Apache IoTDB as an oracle: what it would send for a tablet, and
what it reads back. Takes one JSON request a line on standard input, answers with one line.

  {"op": "encode", "session": 9, "table": false, "tablet": {...}}   {"frame": hex}
  {"op": "insert", "port": 6667, "table": false, "tablet": {...}}   {}
  {"op": "run",    "port": 6667, "table": false, "sql": [...]}      {}
  {"op": "query",  "port": 6667, "table": false, "sql": "..."}      {"rows": [[...]]}

The server is at 127.0.0.1, or at the address that is the script's argument.

A tablet is {"target", "names", "types", "categories", "times", "rows"}. Cells are null or text:
integers in decimal, floats as the hexadecimal digits of their bits, BLOB as hexadecimal digits,
DATE as YYYY-MM-DD, BOOLEAN as true or false; so nothing is lost on the way. Rows of an answer begin
with the time where the query has one.
"""

import datetime
import json
import struct
import sys

from iotdb.Session import Session
from iotdb.table_session import TableSession, TableSessionConfig
from iotdb.thrift.rpc.IClientRPCService import Client
from iotdb.utils.IoTDBConstants import TSDataType
from iotdb.utils.Tablet import ColumnType, Tablet
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TFramedTransport, TMemoryBuffer


def cell(text, of):
    if text is None:
        return None
    if of in ("INT32", "INT64", "TIMESTAMP"):
        return int(text)
    if of == "FLOAT":
        return struct.unpack(">f", bytes.fromhex(text))[0]
    if of == "DOUBLE":
        return struct.unpack(">d", bytes.fromhex(text))[0]
    if of == "BOOLEAN":
        return text == "true"
    if of == "BLOB":
        return bytes.fromhex(text)
    if of == "DATE":
        return datetime.date.fromisoformat(text)
    return text


def shown(value, of):
    if value is None:
        return None
    if of == "FLOAT":
        return struct.pack(">f", value).hex()
    if of == "DOUBLE":
        return struct.pack(">d", value).hex()
    if of == "BOOLEAN":
        return "true" if value else "false"
    if of == "BLOB":
        return bytes(value).hex()
    if of == "DATE":
        return value.isoformat()
    if of in ("TEXT", "STRING"):
        return value.decode() if isinstance(value, bytes) else str(value)
    return str(int(value))


def tablet(spec):
    types = [TSDataType[t] for t in spec["types"]]
    rows = [[cell(v, t) for v, t in zip(row, spec["types"])] for row in spec["rows"]]
    categories = [ColumnType[c] for c in spec["categories"]] if spec.get("categories") else None
    times = [int(t) for t in spec["times"]]
    return Tablet(spec["target"], spec["names"], types, rows, times, categories)


def frame(spec, session, table):
    sessions = Session("127.0.0.1", 1, "root", "root")
    sessions._Session__session_id = session
    made = tablet(spec)
    if table:
        request = sessions.gen_insert_relational_tablet_req(made)
    else:
        request = sessions.gen_insert_tablet_req(made, True)
    memory = TMemoryBuffer()
    Client(TBinaryProtocol(TFramedTransport(memory))).send_insertTablet(request)
    return memory.getvalue().hex()


SESSIONS = {}
HOST = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"


def session(request):
    key = (request["port"], request["table"], request.get("password", "root"))
    if key not in SESSIONS:
        port, table, password = key
        if table:
            config = TableSessionConfig(
                node_urls=["%s:%d" % (HOST, port)], username="root", password=password
            )
            SESSIONS[key] = TableSession(config)
        else:
            SESSIONS[key] = Session(HOST, port, "root", password)
            SESSIONS[key].open(False)
    return SESSIONS[key]


def rows(request):
    found = []
    with session(request).execute_query_statement(request["sql"]) as data:
        types = data.get_column_types()
        timed = len(types) and str(data.get_column_names()[0]) == "Time"
        while data.has_next():
            record = data.next()
            fields = record.get_fields()
            row = [str(record.get_timestamp())] if timed else []
            for field, of in zip(fields, types[1 if timed else 0 :]):
                name = TSDataType(of).name
                null = field is None or field.is_null()
                row.append(None if null else shown(raw(field, name), name))
            found.append(row)
    return found


def raw(field, name):
    if name == "BOOLEAN":
        return field.get_bool_value()
    if name == "INT32":
        return field.get_int_value()
    if name == "INT64":
        return field.get_long_value()
    if name == "TIMESTAMP":
        return field.value
    if name == "FLOAT":
        return field.get_float_value()
    if name == "DOUBLE":
        return field.get_double_value()
    if name == "DATE":
        return field.get_date_value()
    return field.get_binary_value()


def answer(request):
    op = request["op"]
    if op == "encode":
        return {"frame": frame(request["tablet"], request["session"], request["table"])}
    if op == "insert":
        made = tablet(request["tablet"])
        if request["table"]:
            session(request).insert(made)
        else:
            session(request).insert_aligned_tablet(made)
        return {}
    if op == "run":
        for sql in request["sql"]:
            session(request).execute_non_query_statement(sql)
        return {}
    if op == "query":
        return {"rows": rows(request)}
    raise ValueError("no such op: " + op)


def main():
    for line in sys.stdin:
        try:
            result = answer(json.loads(line))
        except Exception as error:  # The test shows it.
            SESSIONS.clear()
            result = {"error": "%s: %s" % (type(error).__name__, error)}
        print(json.dumps(result), flush=True)


main()
