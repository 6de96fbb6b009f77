"""The official Python client of Apache IoTDB as a peer of `cargo xtask bench iotdb`:
`iotdb_insert.py PORT [--numpy]`.

Requests and answers are those of agent/sinks/iotdb/examples/insert.rs, and one more:

  count PATH       values VALUES     of all columns of all devices below PATH

Tablets are made before they are timed; a cycle of several devices is one insert_aligned_tablets.
"""

import sys
import time

import numpy as np
from iotdb.Session import Session
from iotdb.utils.IoTDBConstants import TSDataType
from iotdb.utils.NumpyTablet import NumpyTablet
from iotdb.utils.Tablet import Tablet

TYPES = [
    TSDataType.FLOAT,
    TSDataType.DOUBLE,
    TSDataType.INT32,
    TSDataType.INT64,
    TSDataType.BOOLEAN,
]
FORMS = [np.float32, np.float64, np.int32, np.int64, np.bool_]


def column(times, point):
    """The same in every peer."""
    number = (times * 31 + point * 7) % 1000
    kind = point % 5
    if kind < 2:
        number = number / 10.0
    elif kind == 3:
        number = number * 1_000_000
    elif kind == 4:
        number = number % 2 == 1
    return number.astype(np.dtype(FORMS[kind]).newbyteorder(">"))


def build(words, numpy):
    path = words[1]
    devices, points, rows, quality, count, first = map(int, words[2:])
    names, types = [], []
    for point in range(points):
        names.append("p%d" % point)
        types.append(TYPES[point % 5])
        if quality:
            names.append("p%d_q" % point)
            types.append(TSDataType.INT32)
    cycles = []
    for cycle in range(count):
        times = np.arange(rows, dtype=np.int64) + (first + cycle * rows)
        columns = []
        for point in range(points):
            columns.append(column(times, point))
            if quality:
                columns.append(np.zeros(rows, dtype=">i4"))
        if numpy:
            times = times.astype(">i8")
        else:
            values = [list(row) for row in zip(*[c.tolist() for c in columns])]
            times = times.tolist()
        tablets = []
        for device in range(devices):
            target = "%s.d%d" % (path, device)
            if numpy:
                tablets.append(NumpyTablet(target, names, types, list(columns), times))
            else:
                tablets.append(Tablet(target, names, types, values, times))
        cycles.append(tablets)
    return cycles


def count(session, path):
    total = 0
    with session.execute_query_statement("select count(*) from %s.**" % path) as data:
        while data.has_next():
            total += sum(field.get_long_value() for field in data.next().get_fields())
    return total


def main():
    numpy = "--numpy" in sys.argv
    session = Session("127.0.0.1", int(sys.argv[1]), "root", "root")
    session.open(False)
    cycles = []
    for line in sys.stdin:
        words = line.split()
        if words[0] == "build":
            cycles = build(words, numpy)
            print("built", flush=True)
        elif words[0] == "go":
            started = time.perf_counter()
            for tablets in cycles:
                if len(tablets) == 1:
                    session.insert_aligned_tablet(tablets[0])
                else:
                    session.insert_aligned_tablets(tablets)
            print("done %.6f" % (time.perf_counter() - started), flush=True)
            cycles = []
        elif words[0] == "count":
            print("values %d" % count(session, words[1]), flush=True)
        else:
            raise ValueError("no such request: " + line)
    session.close()


main()
