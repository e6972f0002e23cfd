"""As much of ZeroMQ's wire protocol (ZMTP 3.0, no security) as it takes to say wrong things in it."""
import socket
import struct

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
SHORT_BYTES_MAX = 255
MORE, LONG, COMMAND = 1, 2, 4


def frame(body, flags=0):
    if len(body) > SHORT_BYTES_MAX:
        return struct.pack(">BQ", flags | LONG, len(body)) + body
    return struct.pack("BB", flags, len(body)) + body


class Connection:
    """After the handshake; `role` is the type of socket to pass for."""

    def __init__(self, connected, role):
        self.socket = connected
        connected.settimeout(10)
        connected.sendall(GREETING)
        self.receive_bytes(len(GREETING))
        connected.sendall(frame(b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(role)) + role, COMMAND))
        self.receive()

    @staticmethod
    def connect(address, role=b"DEALER"):
        host, port = address.rsplit(":", 1)
        return Connection(socket.create_connection((host, int(port)), timeout=10), role)

    def receive_bytes(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError("the other side closed the connection")
            data += part
        return data

    def receive(self):
        """One frame's body."""
        flags = self.receive_bytes(1)[0]
        size = struct.unpack(">Q", self.receive_bytes(8))[0] if flags & LONG else self.receive_bytes(1)[0]
        return self.receive_bytes(size)

    def send(self, body, flags=0):
        self.socket.sendall(frame(body, flags))

    def close(self):
        self.socket.close()
