"""Keys of staff and managers: shown once, stored hashed, revoked at once."""

import asyncio
from datetime import timedelta

import pytest

from comanda.errors import Conflict, NotFound
from comanda.staff.keys import (
    Role,
    create_key,
    end_of,
    ensure_key,
    find_principal,
    hash_key,
    list_keys,
    make_key,
    revoke_key,
    rotate_key,
)
from tests.database.rows import NOW, connected


async def test_a_key_is_valid_until_it_is_revoked(database_url: str) -> None:
    async with connected(database_url) as connection:
        key = await create_key(connection, name="caixa", role=Role.STAFF, now=NOW)
        principal = await find_principal(connection, key, NOW)
        assert principal is not None
        assert (principal.name, principal.role) == ("caixa", Role.STAFF)
        assert (principal.may(Role.STAFF), principal.may(Role.MANAGER)) == (True, False)
        await revoke_key(connection, "caixa", NOW)
        assert await find_principal(connection, key, NOW) is None
        with pytest.raises(NotFound):
            await revoke_key(connection, "caixa", NOW)


async def test_a_manager_may_do_what_staff_may(database_url: str) -> None:
    async with connected(database_url) as connection:
        key = await create_key(connection, name="gerente", role=Role.MANAGER, now=NOW)
        principal = await find_principal(connection, key, NOW)
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
        listed = [(record.name, record.role, record.revoked_at) for record in await list_keys(connection, NOW)]
        assert listed == [("caixa", Role.MANAGER, None), ("caixa", Role.STAFF, NOW)]


async def test_a_given_key_is_made_valid_once_and_replaces_what_had_its_name(database_url: str) -> None:
    async with connected(database_url) as connection:
        older = await create_key(connection, name="local", role=Role.STAFF, now=NOW)
        key = make_key(Role.STAFF)
        for _ in range(2):
            await ensure_key(connection, name="local", role=Role.STAFF, key=key, now=NOW)
        assert await find_principal(connection, older, NOW) is None
        assert await find_principal(connection, key, NOW) is not None
        assert await connection.fetchval("SELECT count(*) FROM api_keys") == 2
        with pytest.raises(Conflict) as refused:
            await ensure_key(connection, name="local", role=Role.STAFF, key=older, now=NOW)
        assert refused.value.code == "key_revoked"


HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)


async def test_a_rotated_key_ends_by_itself_and_the_new_one_does_not(database_url: str) -> None:
    async with connected(database_url) as connection:
        old = await create_key(connection, name="caixa", role=Role.MANAGER, now=NOW)
        new = await rotate_key(connection, name="caixa", keep=HOUR, now=NOW)
        for key, moment, valid in (
            (old, NOW, True),
            (old, NOW + HOUR - INSTANT, True),
            (old, NOW + HOUR, False),
            (new, NOW, True),
            (new, NOW + 1000 * HOUR, True),
        ):
            principal = await find_principal(connection, key, moment)
            assert (principal is not None) == valid, moment
            assert principal is None or (principal.name, principal.role) == ("caixa", Role.MANAGER)


async def test_who_lost_the_new_key_rotates_again_and_locks_nobody_out(database_url: str) -> None:
    async with connected(database_url) as connection:
        in_use = await create_key(connection, name="tablet", role=Role.STAFF, now=NOW)
        lost = await rotate_key(connection, name="tablet", keep=HOUR, now=NOW)
        new = await rotate_key(connection, name="tablet", keep=HOUR, now=NOW + HOUR / 2)
        assert await find_principal(connection, in_use, NOW + HOUR - INSTANT) is not None
        assert await find_principal(connection, in_use, NOW + HOUR) is None, "the second time made it live no longer"
        assert await find_principal(connection, lost, NOW + HOUR * 1.5) is None, "nor does the lost one stay"
        assert await find_principal(connection, new, NOW + HOUR * 1.5) is not None


async def test_nothing_is_kept_where_nothing_shall_be(database_url: str) -> None:
    async with connected(database_url) as connection:
        old = await create_key(connection, name="leaked", role=Role.STAFF, now=NOW)
        await rotate_key(connection, name="leaked", keep=timedelta(0), now=NOW)
        assert await find_principal(connection, old, NOW) is None


async def test_only_a_living_key_is_rotated(database_url: str) -> None:
    async with connected(database_url) as connection:
        with pytest.raises(NotFound):
            await rotate_key(connection, name="nobody", keep=HOUR, now=NOW)
        await create_key(connection, name="gone", role=Role.STAFF, now=NOW)
        await revoke_key(connection, "gone", NOW)
        with pytest.raises(NotFound):
            await rotate_key(connection, name="gone", keep=HOUR, now=NOW)


async def test_revoking_ends_those_too_that_were_to_end_later(database_url: str) -> None:
    heard: list[str] = []
    async with connected(database_url) as connection, connected(database_url) as listener:
        await listener.add_listener("comanda_keys", lambda *told: heard.append(str(told[-1])))
        keys = [await create_key(connection, name="caixa", role=Role.STAFF, now=NOW)]
        keys += [await rotate_key(connection, name="caixa", keep=HOUR, now=NOW) for _ in range(2)]
        ids = [(await find_principal(connection, key, NOW)) for key in keys]
        heard.clear()
        await revoke_key(connection, "caixa", NOW)
        assert [await find_principal(connection, key, NOW) for key in keys] == [None] * 3
        await listener.execute("SELECT 1")
        assert sorted(heard) == sorted(str(each.id) for each in ids if each), "streams of each of them are told"


async def test_the_list_says_what_ends_when(database_url: str) -> None:
    async with connected(database_url) as connection:
        await create_key(connection, name="caixa", role=Role.STAFF, now=NOW)
        await rotate_key(connection, name="caixa", keep=HOUR, now=NOW)
        for moment, valid in ((NOW, [True, True]), (NOW + HOUR, [True, False])):
            records = await list_keys(connection, moment)
            assert [(each.name, each.revoked_at) for each in records] == [("caixa", None), ("caixa", NOW + HOUR)]
            assert [each.valid for each in records] == valid
        assert [await end_of(connection, each.id) for each in records] == [None, NOW + HOUR]


async def test_many_who_rotate_at_once_all_get_a_key(database_url: str) -> None:
    async def rotate() -> str:
        async with connected(database_url) as connection:
            return await rotate_key(connection, name="caixa", keep=HOUR, now=NOW)

    async with connected(database_url) as connection:
        await create_key(connection, name="caixa", role=Role.STAFF, now=NOW)
        keys = await asyncio.gather(*(rotate() for _ in range(8)))
        assert len(set(keys)) == 8
        for key in keys:
            assert await find_principal(connection, key, NOW) is not None
        assert await connection.fetchval("SELECT count(*) FROM api_keys WHERE revoked_at IS NULL") == 1
