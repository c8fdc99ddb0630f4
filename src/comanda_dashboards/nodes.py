"""Nodes: CPU, memory, disk and network of each; what dashboard 1860 is looked at for."""

from comanda_dashboards.parts import RED, YELLOW, Dashboard, Panel, Query, Row, Variable, stat

HERE = 'job="node-exporter", node=~"$node"'
REAL = 'fstype!~"tmpfs|overlay|squashfs|ramfs|nsfs|proc|autofs", mountpoint!~"/var/lib/kubelet/.*|/run/.*|/boot/.*"'
"""File systems that can fill up and are a node's own: a pod's volume is under PostgreSQL."""
CARDS = 'device!~"lo|veth.*|eni.*|cali.*|docker.*|cni.*|br.*"'
DISKS = 'device!~"(loop|ram|dm-|sr).*"'


def rate(metric: str, more: str = "") -> str:
    """Answer the rate of a counter, by node."""
    matchers = f"{HERE}, {more}" if more else HERE
    return f"sum by (node) (rate({metric}{{{matchers}}}[$__rate_interval]))"


BUSY = f'1 - avg by (node) (rate(node_cpu_seconds_total{{{HERE}, mode="idle"}}[$__rate_interval]))'
FULL = f"1 - node_memory_MemAvailable_bytes{{{HERE}}} / node_memory_MemTotal_bytes{{{HERE}}}"
DISK = f"1 - node_filesystem_avail_bytes{{{HERE}, {REAL}}} / (node_filesystem_size_bytes{{{HERE}, {REAL}}} > 0)"

ALL = Row(
    "All of them",
    (
        stat("Nodes", "short", 'sum(up{job="node-exporter"}) or on() vector(0)', first=RED, steps=((1, "green"),)),
        stat("Busiest CPU", "percentunit", f"max({BUSY})", steps=((0.8, YELLOW), (0.95, RED))),
        stat("Fullest memory", "percentunit", f"max({FULL})", steps=((0.8, YELLOW), (0.95, RED))),
        stat("Fullest disk", "percentunit", f"max({DISK})", steps=((0.75, YELLOW), (0.9, RED))),
        stat(
            "Longest since its start",
            "dtdurations",
            f"max(time() - node_boot_time_seconds{{{HERE}}})",
            about="A node that was never replaced has no newer image either.",
        ),
        stat(
            "Killed for want of memory",
            "short",
            f"sum(increase(node_vmstat_oom_kill{{{HERE}}}[$__range]))",
            steps=((1, RED),),
            decimals=0,
            about="Processes, in the time shown.",
        ),
        Panel(
            "Each node",
            "percentunit",
            (
                Query(BUSY, "CPU", instant=True),
                Query(f"max by (node) ({FULL})", "Memory", instant=True),
                Query(f"max by (node) ({DISK})", "Fullest disk", instant=True),
            ),
            kind="table",
            sorted_by="CPU",
            renamed={"node": "Node"},
            width=24,
            height=7,
            decimals=0,
        ),
    ),
)

CPU = Row(
    "CPU",
    (
        Panel("Busy", "percentunit", (Query(BUSY, "{{node}}"),), bottom=0, top=1),
        Panel(
            "By what",
            "short",
            (
                Query(
                    f'sum by (mode) (rate(node_cpu_seconds_total{{{HERE}, mode!="idle"}}[$__rate_interval]))',
                    "{{mode}}",
                ),
            ),
            about="Cores of all chosen nodes. steal: the host gave them to somebody else; iowait: waiting for disks.",
            stacked=True,
            bottom=0,
        ),
        Panel(
            "Load of a core, 5 min",
            "short",
            (
                Query(
                    f"max by (node) (node_load5{{{HERE}}})"
                    f' / count by (node) (node_cpu_seconds_total{{{HERE}, mode="idle"}})',
                    "{{node}}",
                ),
            ),
            steps=((1, YELLOW), (2, RED)),
            about="Above 1 processes wait for a core.",
            bottom=0,
        ),
        Panel(
            "Waiting for CPU",
            "percentunit",
            (Query(rate("node_pressure_cpu_waiting_seconds_total"), "{{node}}"),),
            about="Share of the time in which something could not run (pressure stall information).",
            bottom=0,
        ),
        Panel(
            "Waiting for memory",
            "percentunit",
            (Query(rate("node_pressure_memory_waiting_seconds_total"), "{{node}}"),),
            about="The same, for memory that had to be freed first.",
            bottom=0,
        ),
        Panel(
            "Waiting for disks",
            "percentunit",
            (Query(rate("node_pressure_io_waiting_seconds_total"), "{{node}}"),),
            about="The same, for disks.",
            bottom=0,
        ),
    ),
)

MEMORY = Row(
    "Memory",
    (
        Panel("Memory in use", "percentunit", (Query(f"max by (node) ({FULL})", "{{node}}"),), bottom=0, top=1),
        Panel(
            "Available",
            "bytes",
            (Query(f"max by (node) (node_memory_MemAvailable_bytes{{{HERE}}})", "{{node}}"),),
            bottom=0,
        ),
        Panel(
            "Pages read back from disk",
            "cps",
            (Query(rate("node_vmstat_pgmajfault"), "{{node}}"),),
            about="Many: memory is so short that programs are read anew from disk.",
            bottom=0,
        ),
    ),
)

DISKS_ROW = Row(
    "Disks",
    (
        Panel(
            "Disk in use",
            "percentunit",
            (Query(f"max by (node, mountpoint) ({DISK})", "{{node}} {{mountpoint}}"),),
            steps=((0.75, YELLOW), (0.9, RED)),
            bottom=0,
            top=1,
        ),
        Panel(
            "Files of those possible",
            "percentunit",
            (
                Query(
                    f"max by (node, mountpoint) (1 - node_filesystem_files_free{{{HERE}, {REAL}}}"
                    f" / (node_filesystem_files{{{HERE}, {REAL}}} > 0))",
                    "{{node}} {{mountpoint}}",
                ),
            ),
            bottom=0,
            top=1,
        ),
        Panel(
            "Time at work",
            "percentunit",
            (
                Query(
                    "sum by (node, device)"
                    f" (rate(node_disk_io_time_seconds_total{{{HERE}, {DISKS}}}[$__rate_interval]))",
                    "{{node}} {{device}}",
                ),
            ),
            bottom=0,
        ),
        Panel(
            "Read",
            "Bps",
            (Query(rate("node_disk_read_bytes_total", DISKS), "{{node}}"),),
            bottom=0,
        ),
        Panel(
            "Written",
            "Bps",
            (Query(rate("node_disk_written_bytes_total", DISKS), "{{node}}"),),
            bottom=0,
        ),
        Panel(
            "Operations",
            "ops",
            (
                Query(rate("node_disk_reads_completed_total", DISKS), "{{node}} read"),
                Query(rate("node_disk_writes_completed_total", DISKS), "{{node}} written"),
            ),
            about="A gp3 disk does 3000 in a second.",
            bottom=0,
        ),
    ),
)

NETWORK = Row(
    "Network",
    (
        Panel("Received", "Bps", (Query(rate("node_network_receive_bytes_total", CARDS), "{{node}}"),), bottom=0),
        Panel("Sent", "Bps", (Query(rate("node_network_transmit_bytes_total", CARDS), "{{node}}"),), bottom=0),
        Panel(
            "Lost",
            "cps",
            (
                Query(rate("node_network_receive_drop_total", CARDS), "{{node}} received"),
                Query(rate("node_network_transmit_drop_total", CARDS), "{{node}} sent"),
                Query(rate("node_network_receive_errs_total", CARDS), "{{node}} faulty"),
            ),
            about="Packets.",
            bottom=0,
        ),
        Panel(
            "TCP connections",
            "short",
            (
                Query(f"max by (node) (node_netstat_Tcp_CurrEstab{{{HERE}}})", "{{node}} established"),
                Query(f"max by (node) (node_sockstat_TCP_tw{{{HERE}}})", "{{node}} closing"),
            ),
            bottom=0,
        ),
        Panel(
            "Sent again",
            "cps",
            (Query(rate("node_netstat_Tcp_RetransSegs"), "{{node}}"),),
            about="TCP segments that nobody had confirmed.",
            bottom=0,
        ),
        Panel(
            "Clock off by",
            "s",
            (Query(f"max by (node) (abs(node_timex_offset_seconds{{{HERE}}}))", "{{node}}"),),
            steps=((0.05, YELLOW), (0.5, RED)),
            about="Signatures of webhooks and certificates are judged by the clock.",
            bottom=0,
        ),
    ),
)

DASHBOARD = Dashboard(
    "nodes",
    "Nodes",
    "The machines: CPU, memory, disks, network. All that node exporter says is in 1860 (load-dashboards).",
    (ALL, CPU, MEMORY, DISKS_ROW, NETWORK),
    (Variable("node", "Node", 'label_values(node_uname_info{job="node-exporter"}, node)'),),
)
