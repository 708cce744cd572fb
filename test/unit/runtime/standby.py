"""A replica that does not lead."""

import asyncio


class Standby:
    """An election that is never won: the write gate stays shut."""

    async def run(self, _: object) -> None:
        await asyncio.Event().wait()

    def remaining(self) -> float:
        return 0.0

    def healthy(self, _: float) -> bool:
        return True

    async def stop(self, *, release: bool) -> None:
        del release

    async def close(self, _: float) -> None:
        pass
