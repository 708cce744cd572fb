"""Our counterpart of hack/controlplane's lease-elector: takes part in one election and prints a line per change.

As the leader it also says "writes" every few milliseconds at which its gate lets it, as a controller would.
"""

import argparse
import asyncio
import signal
import sys
import time

from rbgctl.machinery.go_duration import parse_go_duration
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.elector_thread import ElectorThread
from rbgctl.runtime.leaderelection import ElectionConfig

STEP = 0.03


def say(what: str, who: str) -> None:
    print(f"{time.time():.6f} {what} {who}", flush=True)


async def main() -> int:
    parser = argparse.ArgumentParser()
    for flag in ("kubeconfig", "namespace", "name", "identity", "lease-duration", "renew-deadline", "retry-period"):
        parser.add_argument(f"--{flag}", required=True)
    parser.add_argument("--release", action="store_true")
    given = parser.parse_args()
    lease, renew = parse_go_duration(given.lease_duration), parse_go_duration(given.renew_deadline)
    retry = parse_go_duration(given.retry_period)
    config = ElectionConfig(
        namespace=given.namespace,
        name=given.name,
        identity=given.identity,
        lease=lease,
        renew=renew,
        retry=retry,
        margin=(lease - renew - retry) / 2,
        release_on_stop=given.release,
    )
    election = ElectorThread(ClusterConfig.load(given.kubeconfig), user_agent="test-elector").election(config)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def started() -> None:
        say("started leading", given.identity)
        while True:
            now = time.time()
            if election.remaining() > 0:
                print(f"{now:.6f} writes {given.identity}", flush=True)
            await asyncio.sleep(STEP)

    running = asyncio.create_task(election.run(started, lambda holder: say("leader is", holder)))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    election.shut()
    await election.stop(release=True)
    await election.close()
    return 0 if stop.is_set() else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
