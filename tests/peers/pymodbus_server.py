"""A Modbus TCP server on pymodbus that writes down everything it was asked and served.

    pymodbus_server.py --fixture FILE --log FILE [--host 127.0.0.1] [--port 0]

Its log is the oracle of the tests: one JSON object a line, flushed before the bytes leave.

    {"event":"listening","time_ns":...,"port":...}
    {"event":"accept","time_ns":...,"connection":1}
    {"event":"request","connection":1,"transaction":7,"unit":1,"function":3,"address":100,
     "count":2,"received_ns":...,"time_ns":...,"outcome":"values","values":[...],
     "counters":{"c":41}}
    {"event":"close","time_ns":...,"connection":1}

    {"event":"switched","time_ns":...}

`outcome` is `values`, `exception` (with `exception`: the code) or `silent`. `received_ns` is
the time the whole request had arrived, `time_ns` the time its answer was handed to the socket.

The fixture, all addresses as on the wire (from zero):

    {"units": {"1": {
        "entries": [
          {"area": "holding", "address": 100, "type": "FLOAT32", "order": "ABCD", "value": 21.5},
          {"area": "coil", "address": 0, "type": "BITS", "value": [true, false]},
          {"area": "input", "address": 0, "type": "REGISTERS", "value": [1, 2, 3]}],
        "counters": [{"name": "c", "area": "holding", "address": 200, "type": "UINT32",
                      "order": "ABCD", "start": 0}],
        "exceptions": [{"area": "holding", "address": 300, "count": 1, "code": 2}],
        "exception": 4, "silent": false, "delay_ms": 0}}}

Types are pymodbus' own (INT16 UINT16 INT32 UINT32 INT64 UINT64 FLOAT32 FLOAT64 STRING) and
REGISTERS (raw words) and BITS. `order` is ABCD, CDAB, BADC or DCBA. A counter grows by one
each time a request covers it. `exception` answers every request of a unit with that code;
`silent` takes requests and never answers. Addresses no entry defines answer exception 2 (a gap
between two bit entries reads as false); a unit that is not in the fixture answers 0x0B.

On SIGHUP the fixture is read again and its faults (`exceptions`, `exception`, `silent`,
`delay_ms`) take the place of the present ones, unit by unit; values and counters go on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import struct
import time
from functools import partial

from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.constants import ExcCodes
from pymodbus.pdu import ExceptionResponse
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

AREAS = ("coil", "discrete", "holding", "input")
AREA_OF_FUNCTION = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}


def registers(kind: str, value, order: str = "ABCD") -> list[int]:
    """The registers of a value: words ordered by pymodbus, bytes in them by struct."""
    if kind == "REGISTERS":
        words = list(value)
    else:
        words = ModbusClientMixin.convert_to_registers(
            value,
            ModbusClientMixin.DATATYPE[kind],
            word_order="little" if order in ("CDAB", "DCBA") else "big",
        )
    if order in ("BADC", "DCBA"):
        words = [struct.unpack("<H", struct.pack(">H", word))[0] for word in words]
    return words


class Log:
    """The JSON lines."""

    def __init__(self, path: str):
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115, lives as long as we do

    def write(self, event: str, **fields):
        """One line, in the hands of the kernel when this returns."""
        self.file.write(json.dumps({"event": event, **fields}) + "\n")
        self.file.flush()


class Unit:
    """One unit of the fixture as a pymodbus device."""

    def __init__(self, number: int, spec: dict):
        self.number = number
        self.spec = spec
        self.switch(spec)
        self.counters = spec.get("counters", [])
        self.values = {c["name"]: c.get("start", 0) for c in self.counters}
        self.served: dict[str, int] = {}

    def switch(self, spec: dict):
        """Take over the faults of a fixture."""
        self.exception = ExcCodes(spec["exception"]) if "exception" in spec else None
        self.exceptions = spec.get("exceptions", [])
        self.silent = spec.get("silent", False)
        self.delay = spec.get("delay_ms", 0) / 1000

    def device(self) -> SimDevice:
        """The device with the fixture's registers."""
        blocks = {area: [] for area in AREAS}
        for entry in self.spec.get("entries", []):
            blocks[entry["area"]].append(self.block(entry))
        for counter in self.counters:
            value = {**counter, "value": counter.get("start", 0)}
            blocks[counter["area"]].append(self.block(value))
        self.absent = {area for area in AREAS if not blocks[area]}
        # pymodbus wants all four tables; `action` refuses the ones the fixture leaves out.
        for area in self.absent:
            kind = DataType.BITS if area in ("coil", "discrete") else DataType.REGISTERS
            value = [False] * 16 if kind == DataType.BITS else [0]
            blocks[area].append(SimData(0, values=value, datatype=kind))
        return SimDevice(
            self.number,
            simdata=tuple(blocks[area] for area in AREAS),
            action=self.action,
        )

    @staticmethod
    def block(entry: dict) -> SimData:
        """One run of registers or bits."""
        if entry["type"] == "BITS":
            bits = [bool(bit) for bit in entry["value"]]
            return SimData(entry["address"], values=bits, datatype=DataType.BITS)
        words = registers(entry["type"], entry["value"], entry.get("order", "ABCD"))
        return SimData(entry["address"], values=words, datatype=DataType.REGISTERS)

    async def action(self, function, start, address, count, current, _set_values):
        """pymodbus' hook before a request is served."""
        self.served = {}
        if self.exception is not None:
            return self.exception
        area = AREA_OF_FUNCTION.get(function, "holding")
        if area in self.absent:
            return ExcCodes.ILLEGAL_ADDRESS
        # For bits pymodbus passes the number of words, not of bits: take the request's own.
        count = self.asked if area in ("coil", "discrete") else count
        for bad in self.exceptions:
            first, last = bad["address"], bad["address"] + bad.get("count", 1) - 1
            if bad["area"] == area and address <= last and first < address + count:
                return ExcCodes(bad["code"])
        for counter in self.counters:
            if counter["area"] != area:
                continue
            name, at = counter["name"], counter["address"]
            words = registers(counter["type"], self.values[name], counter.get("order", "ABCD"))
            if not (address < at + len(words) and at < address + count):
                continue
            current[at - start : at - start + len(words)] = words
            self.served[name] = self.values[name]
            self.values[name] += 1
        return None


class Handler(ServerRequestHandler):
    """One connection: pymodbus' own handler, its trace hooks writing the log."""

    def __init__(self, owner: Server, number: int):
        self.number = number
        self.received: dict[int, tuple[int, object]] = {}
        super().__init__(owner, None, self.on_pdu, self.on_connect)

    def on_connect(self, up: bool):
        """pymodbus' hook for accept and close."""
        event = "accept" if up else "close"
        self.server.log.write(event, time_ns=time.time_ns(), connection=self.number)

    def on_pdu(self, sending: bool, pdu):
        """pymodbus' hook for every request and response."""
        if not sending:
            self.received[pdu.transaction_id] = (time.time_ns(), pdu)
            return pdu
        if pdu.function_code > 0x80:
            outcome = {"outcome": "exception", "exception": pdu.exception_code}
        else:
            request = self.received[pdu.transaction_id][1]
            values = pdu.registers or [int(bit) for bit in pdu.bits[: request.count]]
            outcome = {"outcome": "values", "values": list(values)}
            unit = self.server.units[pdu.dev_id]
            if unit.served:
                outcome["counters"] = unit.served
        self.note(pdu.transaction_id, outcome)
        return pdu

    def note(self, transaction: int, outcome: dict):
        """Write what became of a request."""
        received_ns, request = self.received.pop(transaction)
        self.server.log.write(
            "request",
            connection=self.number,
            transaction=transaction,
            unit=request.dev_id,
            function=request.function_code,
            address=request.address,
            count=request.count,
            received_ns=received_ns,
            time_ns=time.time_ns(),
            **outcome,
        )

    async def handle_request(self):
        """Serve the request as pymodbus does, after the unit's delay, or not at all."""
        request = self.last_pdu
        if request is None:
            return
        unit = self.server.units.get(request.dev_id)
        if unit is None:
            answer = ExceptionResponse(
                request.function_code,
                ExcCodes.GATEWAY_NO_RESPONSE,
                device_id=request.dev_id,
                transaction=request.transaction_id,
            )
            self.server_send(answer, self.last_addr)
        elif unit.silent:
            self.note(request.transaction_id, {"outcome": "silent"})
        else:
            if unit.delay:
                await asyncio.sleep(unit.delay)
                self.last_pdu = request
            if self.transport is None:
                return
            unit.asked = request.count
            await super().handle_request()


class Server(ModbusTcpServer):
    """pymodbus' TCP server with numbered connections."""

    def __init__(self, units: dict[int, Unit], log: Log, address: tuple[str, int]):
        super().__init__([unit.device() for unit in units.values()], address=address)
        self.units = units
        self.log = log
        self.connections = 0

    def callback_new_connection(self):
        """pymodbus' hook for an incoming connection."""
        self.connections += 1
        return Handler(self, self.connections)


def specs(path: str) -> dict[int, dict]:
    """The units of a fixture file."""
    with open(path, encoding="utf-8") as file:
        return {int(number): spec for number, spec in json.load(file)["units"].items()}


async def serve(options: argparse.Namespace):
    """Run until killed."""
    units = {number: Unit(number, spec) for number, spec in specs(options.fixture).items()}
    log = Log(options.log)

    def switch():
        for number, spec in specs(options.fixture).items():
            units[number].switch(spec)
        log.write("switched", time_ns=time.time_ns())

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, switch)
    server = Server(units, log, (options.host, options.port))
    await server.serve_forever(background=True)
    port = server.transport.sockets[0].getsockname()[1]
    log.write("listening", time_ns=time.time_ns(), port=port)
    await server.serving


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    add = partial(parser.add_argument, required=True)
    add("--fixture", help="JSON file with units, registers and faults")
    add("--log", help="file the JSON lines are appended to")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
