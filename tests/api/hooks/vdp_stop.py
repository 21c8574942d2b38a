"""A plugin in one file: a task that runs as long as the plugin does."""

import asyncio

from vdp.api import Datapath, hookimpl
from vdp.testing import Dataplane

vdp_api = 1
tasks: dict[Datapath, asyncio.Task[None]] = {}


async def watch() -> None:
    while True:
        await asyncio.sleep(1)


@hookimpl
def vdp_start(datapath: Datapath) -> None:
    tasks[datapath] = asyncio.get_running_loop().create_task(watch())


@hookimpl
def vdp_stop(datapath: Datapath) -> None:
    tasks.pop(datapath).cancel()


def test_nothing_of_it_is_left() -> None:
    with Dataplane(plugins=[f"watch={__name__}"]) as plane:
        plane.start()
        task = tasks[plane.datapath]
    assert task.cancelled()
    assert not tasks
