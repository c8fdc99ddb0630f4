"""Service: rate, errors, duration and saturation of the API and the worker; what dashboard 14565 is looked at for."""

from comanda_dashboards.parts import RED, YELLOW, Dashboard, Panel, Query, Row, Variable, stat

ALL, WORKER_JOB = 'job="comanda-api"', 'job="comanda-worker"'
FAILED, REFUSED = ', status="5XX"', ', status="4XX"'
GUESTS = f'{ALL}, route!="/readyz"'
"""Without the load balancer's own looks: of a pod that drains they fail, as they should."""
HERE = f'{GUESTS}, route=~"$route"'
SHORT = f'{HERE}, route!~".*/events"'
"""Without event streams: those are open for as long as somebody looks."""
ORDERING = f'{ALL}, route="/v1/orders", method="POST"'
PODS = 'job=~"comanda-api|comanda-worker"'
CONTAINERS = 'job="cadvisor", namespace="comanda", container=~"api|worker"'


def rate(metric: str, matchers: str, *by: str) -> str:
    """Answer how often something happens in a second, summed up."""
    grouped = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouped} (rate({metric}{{{matchers}}}[$__rate_interval]))"


def quantile(which: float, metric: str, matchers: str, *by: str) -> str:
    """Answer a quantile of a histogram."""
    return f"histogram_quantile({which}, {rate(f'{metric}_bucket', matchers, 'le', *by)})"


ORDERS = "sum(increase(http_requests_total{%s}[$__range]))"

GOAL = Row(
    "Ordering, against its goal",
    (
        stat(
            "Orders answered, in the time shown",
            "percentunit",
            f"1 - (({ORDERS % (ORDERING + FAILED)}) or on() vector(0)) / ({ORDERS % ORDERING} > 0)",
            about="Share of POST /v1/orders that was answered with other than 5XX. The goal is 99.5 % over 30 days.",
            first=RED,
            steps=((0.995, YELLOW), (0.999, "green")),
            decimals=3,
            none="no orders",
            width=6,
        ),
        stat(
            "Error budget left, in the time shown",
            "percentunit",
            f"1 - ((({ORDERS % (ORDERING + FAILED)}) or on() vector(0)) / ({ORDERS % ORDERING} > 0)) / 0.005",
            about="Of the 0.5 % that may fail, how much has not. Below 0: more failed than the goal allows.",
            first=RED,
            steps=((0, YELLOW), (0.5, "green")),
            decimals=1,
            none="no orders",
            width=6,
        ),
        stat("Requests", "reqps", f"{rate('http_requests_total', GUESTS)} or on() vector(0)", decimals=1),
        stat(
            "Failing",
            "reqps",
            f"{rate('http_requests_total', GUESTS + FAILED)} or on() vector(0)",
            steps=((0.001, YELLOW), (0.1, RED)),
            about="Answers 5XX in a second, of all routes but the load balancer's own looks.",
        ),
        stat(
            "Pods of the API",
            "short",
            f"sum(up{{{ALL}}}) or on() vector(0)",
            first=RED,
            steps=((1, YELLOW), (2, "green")),
            about="Pods that answer Prometheus. Two are the fewest.",
        ),
    ),
)

TRAFFIC = Row(
    "Rate and errors",
    (
        Panel(
            "Requests by route",
            "reqps",
            (Query(f"{rate('http_requests_total', HERE, 'route')} > 0 or on() vector(0)", "{{route}}"),),
        ),
        Panel("Requests by status", "reqps", (Query(rate("http_requests_total", HERE, "status"), "{{status}}"),)),
        Panel(
            "Failing by route",
            "reqps",
            (
                Query(
                    f"{rate('http_requests_total', HERE + FAILED, 'method', 'route')} > 0 or on() vector(0)",
                    "{{method}} {{route}}",
                ),
            ),
            about="Answers 5XX. One line without a name, at zero: nothing failed.",
            bottom=0,
        ),
        Panel(
            "Share that fails",
            "percentunit",
            (
                Query(
                    f"(({rate('http_requests_total', HERE + FAILED)}) or on() vector(0))"
                    f" / ({rate('http_requests_total', HERE)} > 0)",
                    "5XX",
                ),
                Query(
                    f"(({rate('http_requests_total', HERE + REFUSED)}) or on() vector(0))"
                    f" / ({rate('http_requests_total', HERE)} > 0)",
                    "4XX",
                ),
            ),
            steps=((0.005, RED),),
            about="The line is what the goal for ordering allows of 5XX. 4XX are mistakes of who asked.",
            none="no requests",
            bottom=0,
        ),
        Panel(
            "Refused by limits",
            "reqps",
            (Query(f"{rate('http_requests_total', HERE + REFUSED, 'route')} or on() vector(0)", "{{route}}"),),
            about="Answers 4XX by route: of POST /v1/orders mostly 429, a guest or an address that asks too often.",
            bottom=0,
        ),
        Panel(
            "Requests by method",
            "reqps",
            (Query(rate("http_requests_total", HERE, "method"), "{{method}}"),),
            stacked=True,
        ),
    ),
)

DURATION = Row(
    "Duration, without event streams",
    (
        Panel(
            "Ordering",
            "s",
            tuple(
                Query(quantile(each / 100, "http_request_duration_seconds", ORDERING), f"{each} %")
                for each in (50, 95, 99)
            ),
            about="POST /v1/orders, with what Mercado Pago takes to make the Pix charge.",
            none="no orders",
            bottom=0,
        ),
        Panel(
            "All routes",
            "s",
            tuple(
                Query(quantile(each / 100, "http_request_duration_seconds", SHORT), f"{each} %")
                for each in (50, 95, 99)
            ),
            none="no requests",
            bottom=0,
        ),
        Panel(
            "95 % by route",
            "s",
            (Query(quantile(0.95, "http_request_duration_seconds", SHORT, "route"), "{{route}}"),),
            none="no requests",
            bottom=0,
        ),
        Panel(
            "Length of answers, 95 %",
            "bytes",
            (Query(quantile(0.95, "http_response_length_bytes", HERE, "route"), "{{route}}"),),
            none="no requests",
            bottom=0,
        ),
        Panel(
            "Length of requests, 95 %",
            "bytes",
            (Query(quantile(0.95, "http_request_length_bytes", HERE, "route"), "{{route}}"),),
            none="no requests",
            bottom=0,
        ),
        Panel(
            "Open event streams",
            "short",
            (Query(f"sum by (stream) (comanda_stream_listeners{{{ALL}}})", "{{stream}}"),),
            about="Guests who wait for their order, kitchen tablets, boards.",
            bottom=0,
        ),
    ),
)

SATURATION = Row(
    "Saturation",
    (
        Panel(
            "CPU by pod",
            "short",
            (Query(rate("container_cpu_usage_seconds_total", CONTAINERS, "pod"), "{{pod}}"),),
            about="Cores. The autoscaler adds pods where the API takes more than its share of its request, 0.25.",
            bottom=0,
        ),
        Panel(
            "Memory of its limit",
            "percentunit",
            (
                Query(
                    f"max by (pod) (container_memory_working_set_bytes{{{CONTAINERS}}}"
                    f" / (container_spec_memory_limit_bytes{{{CONTAINERS}}} > 0))",
                    "{{pod}}",
                ),
            ),
            steps=((0.8, YELLOW), (0.95, RED)),
            about="At its limit a pod is killed and begins anew.",
            bottom=0,
        ),
        Panel(
            "Database connections in use",
            "percentunit",
            (
                Query(
                    f'sum by (pod) (comanda_database_pool_connections{{{PODS}, state="in_use"}})'
                    f" / sum by (pod) (comanda_database_pool_max{{{PODS}}})",
                    "{{pod}}",
                ),
            ),
            steps=((0.8, YELLOW), (1, RED)),
            about="Of a pod's pool. At 100 % requests wait for a connection.",
            bottom=0,
        ),
        Panel(
            "Open files of their limit",
            "percentunit",
            (
                Query(
                    f"max by (pod) (process_open_fds{{{PODS}}} / process_max_fds{{{PODS}}})",
                    "{{pod}}",
                ),
            ),
            steps=((0.8, RED),),
            about="Connections of guests count as files.",
            bottom=0,
        ),
        Panel(
            "Restarts of processes",
            "short",
            (Query(f"sum by (job) (changes(process_start_time_seconds{{{PODS}}}[$__rate_interval]))", "{{job}}"),),
            about="A process that began anew in the same pod.",
            bottom=0,
        ),
        Panel(
            "Garbage collections",
            "cps",
            (Query(rate("python_gc_collections_total", PODS, "pod", "generation"), "{{pod}} gen {{generation}}"),),
            bottom=0,
        ),
    ),
)

WORKER = Row(
    "Worker",
    (
        Panel(
            "Since the last round",
            "s",
            (Query(f"time() - max by (loop) (comanda_worker_round_timestamp_seconds{{{WORKER_JOB}}})", "{{loop}}"),),
            steps=((60, YELLOW), (120, RED)),
            about="Of each loop, of the worker that was quickest. It rises where no worker works.",
            bottom=0,
        ),
        Panel(
            "Items brought forward",
            "cps",
            (
                Query(
                    f"{rate('comanda_worker_items_total', WORKER_JOB, 'loop', 'outcome')} or on() vector(0)",
                    "{{loop}} {{outcome}}",
                ),
            ),
            bottom=0,
        ),
        Panel(
            "Background tasks that failed",
            "cps",
            (Query(f"{rate('comanda_task_failures_total', PODS, 'task')} or on() vector(0)", "{{task}}"),),
            about="Each begins again by itself after a second.",
            bottom=0,
        ),
    ),
)

DASHBOARD = Dashboard(
    "service",
    "Service",
    "API and worker: rate, errors, duration, saturation, by route. Alerts say when to look here.",
    (GOAL, TRAFFIC, DURATION, SATURATION, WORKER),
    (Variable("route", "Route", f"label_values(http_requests_total{{{GUESTS}}}, route)"),),
)
