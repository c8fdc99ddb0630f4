"""Orders and Pix: what the owner looks at, in the language of the owner, as the diner's pages are."""

from comanda_dashboards.parts import RED, YELLOW, Dashboard, Panel, Query, Row, stat
from comanda_dashboards.service import quantile, rate

API, WORKER = 'job="comanda-api"', 'job="comanda-worker"'
BOTH = 'job=~"comanda-api|comanda-worker"'
IN_TIME, NOT_ANSWERED = ', le=~"15(.0)?"', ', outcome!~"ok|missing"'
STATUSES = {"awaiting_payment": "aguardando Pix", "paid": "pago", "preparing": "em preparo", "ready": "pronto"}


def in_range(metric: str, matchers: str, *by: str) -> str:
    """Answer how often something happened in the time that is shown."""
    grouped = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouped} (increase({metric}{{{matchers}}}[$__range]))"


def by_status(expr: str) -> tuple[Query, ...]:
    """Answer a query for each status, each with its name on the pages."""
    return tuple(Query(expr % status, name) for status, name in STATUSES.items())


NOW = Row(
    "Agora",
    (
        *(
            stat(
                f"Pedidos: {name}",
                "short",
                f'max(comanda_orders{{{WORKER}, status="{status}"}})',
                about="Quantos pedidos estão assim neste momento.",
                width=3,
            )
            for status, name in STATUSES.items()
        ),
        stat(
            "Pago à espera da cozinha",
            "s",
            f'max(comanda_oldest_order_seconds{{{WORKER}, status="paid"}})',
            steps=((300, YELLOW), (600, RED)),
            about="Há quanto tempo o pedido pago mais antigo espera que a cozinha comece.",
            width=4,
        ),
        stat(
            "Devoluções em aberto",
            "currencyBRL",
            f"max(comanda_refunds_open_cents{{{WORKER}}}) / 100",
            steps=((0.01, YELLOW), (200, RED)),
            about="Dinheiro prometido a clientes que o Mercado Pago ainda não devolveu.",
            decimals=2,
            width=4,
        ),
        stat(
            "Pagamentos a conferir",
            "short",
            f"max(comanda_payments_to_review{{{WORKER}}})",
            steps=((1, RED),),
            about="Pagamentos que uma pessoa precisa olhar: docs/payments.md diz como.",
            width=4,
        ),
    ),
)

SALES = Row(
    "Pedidos no período mostrado",
    (
        stat(
            "Pedidos feitos", "short", f"{in_range('comanda_orders_placed_total', BOTH)} or on() vector(0)", decimals=0
        ),
        stat("Pedidos pagos", "short", f"{in_range('comanda_orders_paid_total', BOTH)} or on() vector(0)", decimals=0),
        stat(
            "Pagos dos feitos",
            "percentunit",
            f"(({in_range('comanda_orders_paid_total', BOTH)}) or on() vector(0))"
            f" / ({in_range('comanda_orders_placed_total', BOTH)} > 0)",
            about="Quem desiste antes de pagar falta aqui.",
            first=RED,
            steps=((0.5, YELLOW), (0.7, "green")),
            none="sem pedidos",
        ),
        stat(
            "Pago que chega à cozinha em 15 s",
            "percentunit",
            f"{in_range('comanda_paid_to_kitchen_seconds_bucket', BOTH + IN_TIME)}"
            f" / ({in_range('comanda_paid_to_kitchen_seconds_count', BOTH)} > 0)",
            about="Da aprovação no Mercado Pago até a cozinha ver o pedido. A meta é 99 % em 30 dias.",
            first=RED,
            steps=((0.99, YELLOW), (0.995, "green")),
            decimals=2,
            none="sem pedidos",
            width=6,
        ),
        stat(
            "Pedidos que esperaram por uma senha",
            "short",
            f"{in_range('comanda_pickup_numbers_exhausted_total', BOTH)} or on() vector(0)",
            steps=((1, YELLOW),),
            about="Não havia número de retirada livre quando foram pagos.",
            decimals=0,
            width=6,
        ),
        Panel(
            "Pedidos por minuto",
            "short",
            (
                Query(f"60 * ({rate('comanda_orders_placed_total', BOTH)}) or on() vector(0)", "feitos"),
                Query(f"60 * ({rate('comanda_orders_paid_total', BOTH)}) or on() vector(0)", "pagos"),
            ),
            bottom=0,
            width=12,
        ),
        Panel(
            "Pedidos em cada etapa",
            "short",
            by_status(f'max(comanda_orders{{{WORKER}, status="%s"}})'),
            bottom=0,
            stacked=True,
            width=12,
        ),
    ),
)

KITCHEN = Row(
    "Cozinha",
    (
        Panel(
            "Da aprovação à cozinha",
            "s",
            tuple(
                Query(quantile(each / 100, "comanda_paid_to_kitchen_seconds", BOTH), f"{each} %")
                for each in (50, 95, 99)
            ),
            steps=((15, RED),),
            about="A linha é a meta: 99 % em até 15 s.",
            none="sem pedidos",
            bottom=0,
        ),
        Panel(
            "Tempo em cada etapa, 95 %",
            "s",
            by_status(quantile(0.95, "comanda_order_status_seconds", f'{BOTH}, status="%s"')),
            about="De pedidos que já passaram para a etapa seguinte.",
            none="sem pedidos",
            bottom=0,
        ),
        Panel(
            "O mais antigo em cada etapa",
            "s",
            by_status(f'max(comanda_oldest_order_seconds{{{WORKER}, status="%s"}})'),
            about="Sobe sem parar quando um pedido ficou esquecido.",
            bottom=0,
        ),
    ),
)

PIX = Row(
    "Pix",
    (
        Panel(
            "Cobranças",
            "cps",
            (Query(f"{rate('comanda_charges_total', BOTH, 'outcome')} or on() vector(0)", "{{outcome}}"),),
            about="made: criada. denied: o token foi recusado. no_answer: sem resposta. refused: pedido recusado.",
            bottom=0,
        ),
        Panel(
            "Do pedido à aprovação",
            "s",
            tuple(
                Query(quantile(each / 100, "comanda_payment_approval_seconds", BOTH), f"{each} %") for each in (50, 95)
            ),
            about="Quanto o cliente leva para pagar, mais o que levamos para saber.",
            none="sem pagamentos",
            bottom=0,
        ),
        Panel(
            "Como soubemos das aprovações",
            "cps",
            (Query(f"{rate('comanda_approvals_total', BOTH, 'learnt_by')} or on() vector(0)", "{{learnt_by}}"),),
            about="webhook: o Mercado Pago avisou. poll: a conciliação achou o que nenhum aviso disse. "
            "provider: na resposta a um pedido nosso. restore: depois de uma restauração.",
            bottom=0,
        ),
        Panel(
            "Avisos recebidos (webhooks)",
            "cps",
            (Query(f"{rate('comanda_webhooks_total', BOTH, 'outcome')} or on() vector(0)", "{{outcome}}"),),
            bottom=0,
        ),
        Panel(
            "Avisos com o segredo anterior",
            "cps",
            (Query(f"{rate('comanda_webhooks_by_previous_secret_total', BOTH)} or on() vector(0)", "avisos"),),
            about="Enquanto houver, ainda não termine a troca do segredo (rotate-secrets mercado-pago --finish).",
            bottom=0,
        ),
        Panel(
            "O mais antigo por resolver",
            "s",
            (Query(f"max by (item) (comanda_oldest_waiting_seconds{{{WORKER}}})", "{{item}}"),),
            steps=((60, YELLOW), (600, RED)),
            about="refund: uma devolução sem resposta. webhook: um aviso ainda não tratado.",
            bottom=0,
        ),
    ),
)

PROVIDER = Row(
    "Mercado Pago",
    (
        Panel(
            "Chamadas por resultado",
            "reqps",
            (Query(f"{rate('comanda_provider_requests_total', BOTH, 'outcome')} or on() vector(0)", "{{outcome}}"),),
            about="ok e missing são respostas; unavailable e abandoned: não respondeu; denied: o token; refused e "
            "failed: o pedido ou nós.",
            bottom=0,
        ),
        Panel(
            "Falhas das chamadas",
            "percentunit",
            (
                Query(
                    f"(({rate('comanda_provider_requests_total', BOTH + NOT_ANSWERED)}) or on() vector(0))"
                    f" / ({rate('comanda_provider_requests_total', BOTH)} > 0)",
                    "falhas",
                ),
            ),
            steps=((0.05, YELLOW), (0.25, RED)),
            none="sem chamadas",
            bottom=0,
        ),
        Panel(
            "Tempo de resposta, 95 %",
            "s",
            (
                Query(
                    quantile(0.95, "comanda_provider_request_duration_seconds", BOTH, "operation"),
                    "{{operation}}",
                ),
            ),
            none="sem chamadas",
            bottom=0,
        ),
    ),
)

REFUNDS = Row(
    "Devoluções",
    (
        Panel(
            "Prometidas",
            "cps",
            (Query(f"{rate('comanda_refunds_owed_total', BOTH, 'by')} or on() vector(0)", "{{by}}"),),
            about="staff: pela equipe. automatic: paga tarde demais, em dobro ou de um pedido cancelado.",
            bottom=0,
        ),
        Panel(
            "Decididas",
            "cps",
            (Query(f"{rate('comanda_refunds_decided_total', BOTH, 'outcome')} or on() vector(0)", "{{outcome}}"),),
            bottom=0,
        ),
        Panel(
            "Em aberto",
            "short",
            (Query(f"max(comanda_refunds_open{{{WORKER}}})", "devoluções"),),
            bottom=0,
        ),
        Panel(
            "Pagamentos a conferir, por motivo",
            "short",
            (Query(f"{in_range('comanda_payment_reviews_total', BOTH, 'reason')} or on() vector(0)", "{{reason}}"),),
            about="Quantos surgiram no período mostrado.",
            bottom=0,
        ),
    ),
)

DASHBOARD = Dashboard(
    "orders",
    "Pedidos e Pix",
    "O que o dono olha: quantos pedidos, onde esperam, se o Pix funciona, o que se deve a clientes.",
    (NOW, SALES, KITCHEN, PIX, PROVIDER, REFUNDS),
    shown="now-6h",
)
