"""The small API server beside a process that watches it: on a loop of its own, in a thread."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from typing import TYPE_CHECKING, Any, Self

from romana_bus.lab.kubeapi.resources import NODES, PODS
from romana_bus.lab.kubeapi.wire import head
from tests.lab.apiserver import ApiServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from romana_bus.lab.kubeapi.resources import Resource


class ApiThread:
    """`do` runs something on the server's loop and gives what it gave."""

    def __init__(self, **options: Any) -> None:
        self.server = ApiServer(**options)
        self._up = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def do(self, what: Callable[[], Any]) -> Any:
        async def now() -> Any:
            return what()

        return asyncio.run_coroutine_threadsafe(now(), self._loop).result(20)

    def put(self, resource: Resource, metadata: str, rest: str = "") -> None:
        def apply() -> None:
            version = self.server.store.version + 1
            text = f'"metadata":{{{metadata},"uid":"u{version}","resourceVersion":"{version}"}}{rest}}}'
            self.server.apply_recorded("ADDED", resource, head(resource) + text.encode())

        self.do(apply)

    def node(self, name: str, zone: str, address: str) -> None:
        labels = f'"labels":{{"topology.kubernetes.io/zone":"{zone}"}}'
        status = f',"status":{{"addresses":[{{"type":"InternalIP","address":"{address}"}}]}}'
        self.put(NODES, f'"name":"{name}",{labels}', status)

    def pod(self, name: str, node: str, namespace: str = "web", **annotations: str) -> None:
        """`annotations`: of ours, without the prefix, '-' written '_'."""
        rest = f',"spec":{{"nodeName":"{node}"}},"status":{{"phase":"Running"}}'
        ours = {f"romana.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
        noted = f',"annotations":{json.dumps(ours)}' if ours else ""
        self.put(PODS, f'"name":"{name}","namespace":"{namespace}"{noted}', rest)

    def no_pod(self, name: str, namespace: str = "web") -> None:
        def apply() -> None:
            store = self.server.store
            old = store.get(PODS, PODS.key(namespace, name))
            assert old is not None
            self.server.apply_recorded("DELETED", PODS, renumbered(old, store.version + 1))

        self.do(apply)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.server.__aenter__(), self._loop).result(20)
        self._up = True
        return self

    def close(self) -> None:
        """Stops listening."""
        if self._up:
            self._up = False
            asyncio.run_coroutine_threadsafe(self.server.__aexit__(), self._loop).result(20)

    def __exit__(self, *_: object) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()


def renumbered(raw: bytes, version: int) -> bytes:
    return re.sub(rb'"resourceVersion":"\d+"', b'"resourceVersion":"%d"' % version, raw, count=1)
