"""Whatever comes as a webhook, from whoever: no fault of ours, and nothing stored that Mercado Pago did not sign."""

import json
from typing import Any
from urllib.parse import urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.asgi import ask
from tests.http.test_webhooks import PATH, now_ms, sign
from tests.running_diner import Diner

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
LATIN = st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n\0"), max_size=60)
NOTIFICATION = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers() | st.text(max_size=10),
        "type": st.sampled_from(["payment", "merchant_order", "", "test"]) | JSON,
        "action": st.sampled_from(["payment.created", "payment.updated"]) | JSON,
        "data": st.fixed_dictionaries({}, optional={"id": st.integers() | st.text(max_size=25) | JSON}) | JSON,
    },
)
QUERY = st.dictionaries(
    st.sampled_from(["data.id", "type", "id", "topic", "x"]),
    st.text(max_size=25) | st.integers(0, 10**13).map(str),
    max_size=4,
)
"""What may stand in the query, the fields that count among it."""


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_nothing_that_comes_is_a_fault_of_ours(diner: Diner, data: st.DataObject) -> None:
    query = data.draw(QUERY)
    body = data.draw(st.binary(max_size=80) | NOTIFICATION.map(_encoded) | JSON.map(_encoded))
    headers = {"content-type": "application/json"}
    signed = data.draw(st.booleans()) and query.get("data.id") is not None
    if signed:
        headers |= {"x-request-id": "req-0001", "x-signature": sign(diner, query["data.id"], ts=now_ms(diner))}
    else:
        headers |= {"x-request-id": data.draw(LATIN), "x-signature": data.draw(LATIN)}
    stored = await diner.value("SELECT count(*) FROM webhook_events")
    answer = await ask(diner.gate, "POST", f"{PATH}?{urlencode(query)}", body=body, headers=headers)
    assert answer.status in {200, 400, 401, 413, 415, 422}, answer
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
    if not signed:
        assert await diner.value("SELECT count(*) FROM webhook_events") == stored


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode()
