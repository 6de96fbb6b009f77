"""The Python peer of the benchmark: what people write by hand with pymodbus and paho-mqtt.

One asyncio task and one connection per device, one JSON message per device and cycle, QoS 1.
--tuned unpacks a whole block with struct instead of calling convert_from_registers per point.
"""

import argparse
import asyncio
import json
import struct
import time

import paho.mqtt.client as mqtt
from pymodbus.client import AsyncModbusTcpClient

MAX_REGISTERS = 125


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modbus-port", type=int, required=True)
    parser.add_argument("--mqtt-port", type=int, required=True)
    parser.add_argument("--units", type=int, default=10, help="devices, unit 1 to this one")
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds")
    parser.add_argument("--addresses", help="file with one address a line, ascending")
    parser.add_argument("--u16", action="store_true", help="uint16 points instead of float32")
    parser.add_argument("--tuned", action="store_true")
    return parser.parse_args()


def blocks_of(addresses, width):
    """(start, registers, [(name, offset)]) for every request of a cycle."""
    blocks, first = [], 0
    while first < len(addresses):
        end, start = first, addresses[first]
        while end < len(addresses) and addresses[end] + width - start <= MAX_REGISTERS:
            end += 1
        points = [(f"p{i:04d}", addresses[i] - start) for i in range(first, end)]
        blocks.append((start, addresses[end - 1] + width - start, points))
        first = end
    return blocks


def values(client, args, registers, points):
    if args.u16:
        return {name: registers[offset] for name, offset in points}
    if args.tuned:
        raw = struct.pack(f">{len(registers)}H", *registers)
        return {name: struct.unpack_from(">f", raw, 2 * offset)[0] for name, offset in points}
    kind = client.DATATYPE.FLOAT32
    return {
        name: client.convert_from_registers(registers[offset : offset + 2], kind)
        for name, offset in points
    }


async def poll(unit, args, blocks, broker):
    client = AsyncModbusTcpClient("127.0.0.1", port=args.modbus_port, timeout=1.0, retries=0)
    await client.connect()
    due = time.monotonic()
    while True:
        message = {"ts": int(time.time() * 1000), "dev": f"d{unit:03d}"}
        for start, count, points in blocks:
            try:
                answer = await client.read_holding_registers(start, count=count, device_id=unit)
                if not answer.isError():
                    message.update(values(client, args, answer.registers, points))
            except Exception as error:  # what hand-written scripts do: say it and go on
                print(f"d{unit:03d}: {error}", flush=True)
                if not client.connected:
                    await client.connect()
        if len(message) > 2:
            broker.publish(f"py/d{unit:03d}", json.dumps(message), qos=1)
        due += args.interval
        left = due - time.monotonic()
        if left < 0:
            due, left = time.monotonic(), 0
        await asyncio.sleep(left)


async def main():
    args = arguments()
    width = 1 if args.u16 else 2
    if args.addresses:
        with open(args.addresses, encoding="ascii") as file:
            addresses = [int(line) for line in file]
    else:
        addresses = [width * i for i in range(args.points)]
    broker = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="bench-python")
    broker.max_inflight_messages_set(1000)
    broker.connect("127.0.0.1", args.mqtt_port)
    broker.loop_start()
    blocks = blocks_of(addresses, width)
    await asyncio.gather(*(poll(u, args, blocks, broker) for u in range(1, args.units + 1)))


asyncio.run(main())
