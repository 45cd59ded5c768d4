"""What the supervisor holds as long as the daemon lives, whichever version it is: sockets, memory and processes."""

import os
import socket

from balancer.config.scalars import Level, LogFormat
from balancer.daemon.boards import Boards
from balancer.daemon.child import ChildOwner, ChildProcess
from balancer.daemon.sockets import Sockets
from balancer.daemon.systemd import Manager
from balancer.daemon.workers import Workers
from balancer.ipc.supervision import Upgrade
from balancer.shared.version import VERSION
from balancer.upgrade.release import running
from balancer.upgrade.state import Handover


class Holdings:
    """Made anew with the sockets ``handed`` by the service manager, or taken over from ``former``, the version before.

    ``owner`` handles the events of the control process, which reads the file ``config``. Raises ``OSError``.
    """

    def __init__(
        self,
        owner: ChildOwner,
        config: str,
        handed: list[socket.socket],
        manager: Manager,
        former: Handover | None,
        *,
        discard_newer: bool = False,
    ) -> None:
        self.config = config
        self.manager = manager
        self.release = running()
        self.lame = 0.0
        """Seconds for which no new clients are asked for before a drain."""
        self.log_level: Level = "info"
        self.log_format: LogFormat = "text"
        self.status = "connections: 0, tunnels: 0" if former is None else former.status
        """What the service manager shows beside the daemon."""
        if former is None:
            self.generation = 1
            self.memory = [os.memfd_create("balancer-memory"), os.memfd_create("balancer-counted")]
            self.sockets, self.boards = Sockets(handed), Boards()
        else:
            self.generation = former.generation if former.back else former.generation + 1
            self.memory, self.lame = former.memory, former.lame
            self.log_level, self.log_format = former.log_level, former.log_format
            self.sockets, self.boards = Sockets([], former.sockets), Boards(former.boards)
            for fd in (*self.memory, *(board.fd for board in former.boards)):
                os.set_inheritable(fd, False)
        arguments = [*map(str, self.memory), config, *(["discard-newer"] if discard_newer else [])]
        self.control = ChildProcess("control", self.release, "balancer.daemon.control", arguments, self.memory, owner)
        self.workers = Workers(self.control, self.sockets, self.boards, self.release, self.generation)
        if former is not None:
            self.control.hang = former.hang
            self.workers.adopt(former)
            (self.control.adopt if former.back else self.control.succeed)(former.control)

    def state(self, upgrade: Upgrade, prove: float) -> Handover:
        """Return what the next version has to know; ``upgrade`` is why, ``prove`` how long it is watched."""
        return Handover(
            release=self.release,
            version=VERSION,
            config=self.config,
            manager=self.manager.variables,
            generation=self.generation,
            generations=self.workers.generations,
            memory=self.memory,
            boards=self.boards.states(),
            sockets=self.sockets.state(self.workers.version),
            workers=self.workers.states(),
            control=self.control.state(),
            hang=self.control.hang,
            lame=self.lame,
            log_level=self.log_level,
            log_format=self.log_format,
            status=self.status,
            upgrade=upgrade,
            prove=prove,
        )

    def close(self) -> None:
        """Close sockets and memory."""
        self.sockets.close()
        self.boards.close()
        for fd in self.memory:
            os.close(fd)
