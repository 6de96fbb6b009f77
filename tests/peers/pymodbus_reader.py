"""Reads one value from a Modbus TCP server for ever, with pymodbus, and says what it got.

One JSON line per read: {"ns": Unix time, "value": number} or {"ns": ..., "exception": code} or
{"ns": ..., "unreachable": true}.
"""

import argparse
import json
import struct
import time

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

FORMATS = {"REAL": ">f", "UDINT": ">I", "UINT": ">H"}


def read(client, args):
    """One read as a dictionary."""
    size = struct.calcsize(FORMATS[args.type])
    call = client.read_holding_registers if args.table == "holding" else client.read_input_registers
    try:
        if not client.connected and not client.connect():
            return {"unreachable": True}
        answer = call(args.address, count=size // 2, device_id=args.unit)
    except (ModbusException, OSError):
        client.close()
        return {"unreachable": True}
    if answer.isError():
        return {"exception": answer.exception_code}
    data = b"".join(r.to_bytes(2, "big") for r in answer.registers)
    return {"value": struct.unpack(FORMATS[args.type], data)[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--unit", type=int, default=1)
    parser.add_argument("--table", choices=["holding", "input"], default="holding")
    parser.add_argument("--address", type=int, required=True, help="counted from 0")
    parser.add_argument("--type", choices=list(FORMATS), required=True)
    parser.add_argument("--every", type=float, default=0.02, help="seconds")
    args = parser.parse_args()
    client = ModbusTcpClient("127.0.0.1", port=args.port, timeout=2, retries=0)
    while True:
        got = read(client, args)
        print(json.dumps({"ns": time.time_ns(), **got}), flush=True)
        time.sleep(args.every)


if __name__ == "__main__":
    main()
