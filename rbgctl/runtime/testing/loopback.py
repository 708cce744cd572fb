"""Ports on the loopback interface."""

import socket

LOOPBACK = "127.0.0.1"


class PortInUse(Exception):
    """The port asked for is taken."""


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def check_port(port: int) -> None:
    """Raises PortInUse when somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise PortInUse(f"port {port} on {LOOPBACK} is in use ({error.strerror}): choose another one") from None
