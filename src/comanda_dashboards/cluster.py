"""Cluster and scaling: pods, what they take, who adds more of them, and who adds nodes."""

from comanda_dashboards.parts import RED, YELLOW, Dashboard, Panel, Query, Row, Variable, stat

PODS = 'job="cadvisor", container!="", namespace=~"$namespace"'
STATE = 'job="kube-state-metrics", namespace=~"$namespace"'
KSM = 'job="kube-state-metrics"'
HPA = f'{KSM}, namespace="comanda", horizontalpodautoscaler="comanda-api"'
AUTOSCALER = 'job="cluster-autoscaler"'


def of_hpa(what: str) -> str:
    """Answer a number of the API's autoscaler."""
    return f"max(kube_horizontalpodautoscaler_{what}{{{HPA}}})"


NOW = Row(
    "Now",
    (
        stat(
            "Targets that do not answer",
            "short",
            "count(up == 0) or on() vector(0)",
            steps=((1, RED),),
            about="Of all that Prometheus asks.",
        ),
        stat(
            "Pods that run",
            "short",
            f'sum(kube_pod_status_phase{{{KSM}, phase="Running"}})',
        ),
        stat(
            "Pods that wait",
            "short",
            f'sum(kube_pod_status_phase{{{KSM}, phase="Pending"}})',
            steps=((1, YELLOW), (5, RED)),
            about="For a node with room, a disk, an image or a secret.",
        ),
        stat(
            "API pods of their most",
            "percentunit",
            f"{of_hpa('status_current_replicas')} / {of_hpa('spec_max_replicas')}",
            steps=((0.8, YELLOW), (1, RED)),
        ),
        stat(
            "Nodes ready",
            "short",
            f'sum(kube_node_status_condition{{{KSM}, condition="Ready", status="true"}})',
        ),
        stat(
            "Nodes not ready",
            "short",
            f'sum(kube_node_status_condition{{{KSM}, condition="Ready", status=~"false|unknown"}})',
            steps=((1, RED),),
        ),
    ),
)

PODS_ROW = Row(
    "Pods",
    (
        Panel(
            "CPU by namespace",
            "short",
            (
                Query(
                    f"sum by (namespace) (rate(container_cpu_usage_seconds_total{{{PODS}}}[$__rate_interval]))",
                    "{{namespace}}",
                ),
            ),
            about="Cores.",
            stacked=True,
            bottom=0,
        ),
        Panel(
            "Memory by namespace",
            "bytes",
            (Query(f"sum by (namespace) (container_memory_working_set_bytes{{{PODS}}})", "{{namespace}}"),),
            stacked=True,
            bottom=0,
        ),
        Panel(
            "Nearest to their memory's limit",
            "percentunit",
            (
                Query(
                    f"topk(10, max by (namespace, pod, container) (container_memory_working_set_bytes{{{PODS}}}"
                    f" / (container_spec_memory_limit_bytes{{{PODS}}} > 0)))",
                    "{{namespace}} {{pod}} {{container}}",
                    instant=True,
                ),
            ),
            kind="bargauge",
            steps=((0.8, YELLOW), (0.95, RED)),
            bottom=0,
            top=1,
        ),
        Panel(
            "Restarts",
            "short",
            (
                Query(
                    "sum by (namespace, pod, container)"
                    f" (increase(kube_pod_container_status_restarts_total{{{STATE}}}[$__rate_interval])) > 0",
                    "{{namespace}} {{pod}} {{container}}",
                ),
            ),
            none="none",
            bottom=0,
        ),
        Panel(
            "Pods by what they are at",
            "short",
            (Query(f"sum by (phase) (kube_pod_status_phase{{{STATE}}}) > 0", "{{phase}}"),),
            stacked=True,
            bottom=0,
        ),
        Panel(
            "Why containers wait",
            "short",
            (Query(f"sum by (reason) (kube_pod_container_status_waiting_reason{{{STATE}}}) > 0", "{{reason}}"),),
            none="none does",
            bottom=0,
        ),
        Panel(
            "Deployments that lack pods",
            "short",
            (
                Query(
                    f"kube_deployment_spec_replicas{{{STATE}}}"
                    f" - kube_deployment_status_replicas_available{{{STATE}}} > 0",
                    "{{namespace}} {{deployment}}",
                ),
            ),
            none="none does",
            bottom=0,
        ),
        Panel(
            "Network by namespace",
            "Bps",
            (
                Query(
                    'sum by (namespace) (rate(container_network_receive_bytes_total{job="cadvisor",'
                    ' namespace=~"$namespace"}[$__rate_interval]))',
                    "{{namespace}} in",
                ),
                Query(
                    'sum by (namespace) (rate(container_network_transmit_bytes_total{job="cadvisor",'
                    ' namespace=~"$namespace"}[$__rate_interval]))',
                    "{{namespace}} out",
                ),
            ),
            bottom=0,
        ),
        Panel(
            "Pods by node",
            "short",
            (Query('sum by (node) (kubelet_running_pods{job="kubelet"})', "{{node}}"),),
            about="By the kubelets' own count.",
            bottom=0,
        ),
    ),
)

SCALING = Row(
    "The API's autoscaler",
    (
        Panel(
            "Pods of the API",
            "short",
            (
                Query(of_hpa("status_current_replicas"), "there"),
                Query(of_hpa("status_desired_replicas"), "wanted"),
                Query(of_hpa("spec_min_replicas"), "fewest"),
                Query(of_hpa("spec_max_replicas"), "most"),
            ),
            bottom=0,
        ),
        Panel(
            "CPU of what it asks for",
            "percentunit",
            (
                Query(
                    'sum(rate(container_cpu_usage_seconds_total{job="cadvisor", namespace="comanda",'
                    ' container="api"}[$__rate_interval]))'
                    f' / sum(kube_pod_container_resource_requests{{{KSM}, namespace="comanda", container="api",'
                    ' resource="cpu"})',
                    "CPU",
                ),
                Query(
                    f'{of_hpa("spec_target_metric").removesuffix("})")}, metric_target_type="utilization"}}) / 100',
                    "aimed at",
                ),
            ),
            about="Above what it aims at, the autoscaler adds pods.",
            bottom=0,
        ),
        Panel(
            "What it says of itself",
            "short",
            (
                Query(
                    f"max by (condition) (kube_horizontalpodautoscaler_status_condition{{{HPA},"
                    ' condition=~"AbleToScale|ScalingActive|ScalingLimited", status="true"})',
                    "{{condition}}",
                ),
            ),
            kind="state-timeline",
            mappings={"0": ("no", YELLOW), "1": ("yes", "green")},
            about="ScalingActive no: it lacks the CPU's metrics. ScalingLimited yes: it is at its fewest or most.",
        ),
    ),
)

NODES = Row(
    "Nodes and who adds them",
    (
        Panel(
            "CPU asked for, of what nodes have",
            "percentunit",
            (
                Query(
                    f'sum by (node) (kube_pod_container_resource_requests{{{KSM}, resource="cpu"}})'
                    f' / sum by (node) (kube_node_status_allocatable{{{KSM}, resource="cpu"}})',
                    "{{node}}",
                ),
            ),
            steps=((0.9, YELLOW),),
            bottom=0,
        ),
        Panel(
            "Memory asked for, of what nodes have",
            "percentunit",
            (
                Query(
                    f'sum by (node) (kube_pod_container_resource_requests{{{KSM}, resource="memory"}})'
                    f' / sum by (node) (kube_node_status_allocatable{{{KSM}, resource="memory"}})',
                    "{{node}}",
                ),
            ),
            steps=((0.9, YELLOW),),
            bottom=0,
        ),
        Panel(
            "Pressure",
            "short",
            (
                Query(
                    f'max by (node, condition) (kube_node_status_condition{{{KSM}, condition!="Ready",'
                    ' status="true"}) > 0',
                    "{{node}} {{condition}}",
                ),
            ),
            none="none",
            bottom=0,
        ),
        Panel(
            "Nodes, as the Cluster Autoscaler sees them",
            "short",
            (
                Query(f"sum by (state) (cluster_autoscaler_nodes_count{{{AUTOSCALER}}})", "{{state}}"),
                Query(f"max(cluster_autoscaler_max_nodes_count{{{AUTOSCALER}}})", "most"),
            ),
            about="The most is 0 where it was not told one for all groups.",
            bottom=0,
        ),
        Panel(
            "Pods for which there is no room",
            "short",
            (Query(f"sum by (type) (cluster_autoscaler_unschedulable_pods_count{{{AUTOSCALER}}})", "{{type}}"),),
            bottom=0,
        ),
        Panel(
            "Nodes added and taken away",
            "short",
            (
                Query(
                    f"sum(increase(cluster_autoscaler_scaled_up_nodes_total{{{AUTOSCALER}}}[$__rate_interval]))"
                    " or on() vector(0)",
                    "added",
                ),
                Query(
                    f"sum(increase(cluster_autoscaler_scaled_down_nodes_total{{{AUTOSCALER}}}[$__rate_interval]))"
                    " or on() vector(0)",
                    "taken away",
                ),
                Query(
                    f"sum(increase(cluster_autoscaler_failed_scale_ups_total{{{AUTOSCALER}}}[$__rate_interval]))"
                    " or on() vector(0)",
                    "could not be added",
                ),
            ),
            bottom=0,
        ),
        stat(
            "May it scale",
            "none",
            f"min(cluster_autoscaler_cluster_safe_to_autoscale{{{AUTOSCALER}}})",
            first=RED,
            steps=((1, "green"),),
            mappings={"0": ("no", RED), "1": ("yes", "green")},
            about="Not while too many nodes are unhealthy.",
        ),
        stat(
            "Since its last round",
            "s",
            f'time() - max(cluster_autoscaler_last_activity{{{AUTOSCALER}, activity="main"}})',
            steps=((60, YELLOW), (300, RED)),
        ),
        stat(
            "Its faults",
            "short",
            f"sum(increase(cluster_autoscaler_errors_total{{{AUTOSCALER}}}[$__range])) or on() vector(0)",
            steps=((1, YELLOW),),
            decimals=0,
            about="In the time shown.",
        ),
    ),
)

DASHBOARD = Dashboard(
    "cluster",
    "Cluster and scaling",
    "Pods, what they take, who adds more of them, and who adds nodes.",
    (NOW, PODS_ROW, SCALING, NODES),
    (
        Variable(
            "namespace", "Namespace", 'label_values(container_memory_working_set_bytes{job="cadvisor"}, namespace)'
        ),
    ),
)
