"""ASGI middleware in front of Ray Serve's own code: at its proxy or, with HAProxy, at each replica.

Enabled by the environment of whatever starts Serve:
``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve.middleware:middlewares``.
"""

import os

from starlette.middleware import Middleware

from serve.middleware.close_reasons import CloseReasons
from serve.middleware.flow_control import FlowControl
from serve.middleware.ray_headers import DropControlHeaders, NoDisconnectWatch
from serve.middleware.retries import Retries


def middlewares() -> list[Middleware]:
    """Called by Ray Serve when its proxy or a replica begins to listen. The last is outermost."""
    haproxy = os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1"
    return [
        Middleware(NoDisconnectWatch if haproxy else Retries),
        Middleware(FlowControl),
        Middleware(CloseReasons),
        Middleware(DropControlHeaders),
    ]
