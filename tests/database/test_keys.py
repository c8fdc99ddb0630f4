"""Keys of staff and managers: shown once, stored hashed, revoked at once."""

from datetime import timedelta

import pytest

from comanda.errors import Conflict, NotFound
from comanda.staff.keys import Role, create_key, ensure_key, find_principal, hash_key, list_keys, make_key, revoke_key
from tests.database.rows import NOW, connected


async def test_a_key_is_valid_until_it_is_revoked(database_url: str) -> None:
    async with connected(database_url) as connection:
        key = await create_key(connection, name="caixa", role=Role.STAFF, now=NOW)
        principal = await find_principal(connection, key)
        assert principal is not None
        assert (principal.name, principal.role) == ("caixa", Role.STAFF)
        assert (principal.may(Role.STAFF), principal.may(Role.MANAGER)) == (True, False)
        await revoke_key(connection, "caixa", NOW)
        assert await find_principal(connection, key) is None
        with pytest.raises(NotFound):
            await revoke_key(connection, "caixa", NOW)


async def test_a_manager_may_do_what_staff_may(database_url: str) -> None:
    async with connected(database_url) as connection:
        key = await create_key(connection, name="gerente", role=Role.MANAGER, now=NOW)
        principal = await find_principal(connection, key)
        assert principal is not None
        assert principal.may(Role.STAFF)
        assert principal.may(Role.MANAGER)


async def test_a_key_itself_is_stored_nowhere(database_url: str) -> None:
    async with connected(database_url) as connection:
        key = await create_key(connection, name="caixa", role=Role.STAFF, now=NOW)
        assert key.startswith("comanda_staff_")
        stored = await connection.fetchval("SELECT row_to_json(k)::text FROM api_keys AS k")
        assert key.removeprefix("comanda_staff_") not in stored
        assert await connection.fetchval("SELECT key_hash FROM api_keys") == hash_key(key)
        assert make_key(Role.STAFF) != make_key(Role.STAFF)


async def test_a_living_key_keeps_its_name_to_itself(database_url: str) -> None:
    async with connected(database_url) as connection:
        await create_key(connection, name="caixa", role=Role.STAFF, now=NOW)
        with pytest.raises(Conflict) as refused:
            await create_key(connection, name="caixa", role=Role.MANAGER, now=NOW)
        assert refused.value.code == "key_exists"
        await revoke_key(connection, "caixa", NOW)
        await create_key(connection, name="caixa", role=Role.MANAGER, now=NOW + timedelta(seconds=1))
        listed = [(record.name, record.role, record.revoked_at) for record in await list_keys(connection)]
        assert listed == [("caixa", Role.MANAGER, None), ("caixa", Role.STAFF, NOW)]


async def test_a_given_key_is_made_valid_once_and_replaces_what_had_its_name(database_url: str) -> None:
    async with connected(database_url) as connection:
        older = await create_key(connection, name="local", role=Role.STAFF, now=NOW)
        key = make_key(Role.STAFF)
        for _ in range(2):
            await ensure_key(connection, name="local", role=Role.STAFF, key=key, now=NOW)
        assert await find_principal(connection, older) is None
        assert await find_principal(connection, key) is not None
        assert await connection.fetchval("SELECT count(*) FROM api_keys") == 2
        with pytest.raises(Conflict) as refused:
            await ensure_key(connection, name="local", role=Role.STAFF, key=older, now=NOW)
        assert refused.value.code == "key_revoked"
