"""OPTIONS: which methods a path has. The framework's own answer knows only of the first handler of a path."""

from collections.abc import Sequence

from litestar import Response, route
from litestar.handlers import HTTPRouteHandler


def options_handlers(handlers: Sequence[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """Build the OPTIONS handlers for all paths of `handlers`; register them first."""
    methods: dict[str, set[str]] = {}
    for handler in handlers:
        for path in handler.paths:
            methods.setdefault(path, {"OPTIONS"}).update(handler.http_methods)
    return [_options(path, found | {"HEAD"} if "GET" in found else found) for path, found in methods.items()]


def _options(path: str, methods: set[str]) -> HTTPRouteHandler:
    allow = ", ".join(sorted(methods))

    @route(path, http_method="OPTIONS", status_code=204, include_in_schema=False)
    async def options() -> Response[None]:
        return Response(None, status_code=204, headers={"allow": allow})

    return options
