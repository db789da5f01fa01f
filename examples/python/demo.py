"""The caller and the executor at work: says what it does, and stops at what is not as it should be."""

import asyncio
import os
import uuid

import nats

from caller import Rejected, act, outcome, tool_call_key
from executor import Provider, execute, report, runs

SUBJECT = "actions.payments.charge"
RUN = f"agent-run-{uuid.uuid4()}"  # of the agent; a framework has one


def check(what, holds):
    if not holds:
        raise AssertionError(f"not so: {what}")
    print(f"ok: {what}", flush=True)


def call(step, **payload):
    return SUBJECT, payload, tool_call_key(RUN, step, SUBJECT, payload)


async def receipts(nc):
    subject, payload, key = call(1, customer="c_1029", order="o_1", amount=49.9)
    first = await act(nc, subject, payload, key)
    check("the first is accepted, and pending", (first["verdict"], first["state"]) == ("accepted", "pending"))

    again = await act(nc, subject, {"amount": 49.90, "order": "o_1", "customer": "c_1029"}, key)
    check("a retry is a duplicate: the same run",
          again["verdict"] == "duplicate" and again["replayed"] and again["run_id"] == first["run_id"])

    try:
        await act(nc, subject, payload | {"amount": 499}, key)
        check("another payload is rejected", False)
    except Rejected as rejected:
        check("another payload is rejected", rejected.reason == "payload_mismatch")
        check("and learns nothing of the run", rejected.receipt["run_id"] is None)
    return first


async def a_lost_receipt(nc):
    subject, payload, key = call(2, customer="c_1029", order="o_2", amount=20)
    caller = asyncio.create_task(act(nc, subject, payload, key))
    while not (stored := await last_action(nc)) or stored.headers["Idempotency-Key"] != key:
        await asyncio.sleep(0.01)
    caller.cancel()  # it dies, maybe before its receipt comes
    receipt = await act(nc, subject, payload, key)
    check("whoever missed a receipt publishes again: no second run", receipt["verdict"] == "duplicate")


async def last_action(nc):
    try:
        return await nc.jetstream().get_last_msg("ACTIONS", SUBJECT)
    except nats.js.errors.NotFoundError:
        return None


async def a_lost_ack(nc):
    """An executor gives a run back, and dies before it has acknowledged it."""
    action = call(3, customer="c_1029", order="o_3", amount=30)
    given_back = await act(nc, *action)
    for message in await (await runs(nc)).fetch(100, timeout=5):
        if message.headers["Oncegate-Run-Id"] == given_back["run_id"]:
            await report(nc, message.headers, "retry", {"error": "not now"})
        await message.nak()
    while (new := await act(nc, *action))["run_id"] == given_back["run_id"]:
        await asyncio.sleep(0.1)
    check("after `retry` the key is new: another run", new["verdict"] == "accepted")
    return given_back


async def results(nc, first, given_back, provider):
    done = await outcome(nc, *call(1, customer="c_1029", order="o_1", amount=49.9))
    check("the run has its result", (done["run_id"], done["state"]) == (first["run_id"], "succeeded"))
    check("which is the executor's", done["result"]["data"] == provider.charges[first["run_id"]])

    again = await outcome(nc, *call(3, customer="c_1029", order="o_3", amount=30))
    check("the new run is performed", again["run_id"] in provider.charges)
    check("the one that was given back is not, though it was delivered again",
          given_back["run_id"] not in provider.charges)

    failed = await outcome(nc, *call(4, customer="c_1029", order="o_4", amount=5000))
    check("a failure is an answer too", (failed["state"], failed["result"]["data"]) == ("failed", {"error": "card declined"}))

    busy = call(5, customer="c_busy", order=f"o_{RUN}", amount=10)
    first_try = await act(nc, *busy)
    done = await outcome(nc, *busy)
    check("a run that was given back is tried again, as a new run",
          done["state"] == "succeeded" and done["run_id"] != first_try["run_id"])


async def main():
    nc = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
    first = await receipts(nc)
    await a_lost_receipt(nc)
    given_back = await a_lost_ack(nc)
    provider = Provider()
    executor = asyncio.create_task(execute(nc, provider.charge))
    await results(nc, first, given_back, provider)
    executor.cancel()
    await asyncio.wait([executor])
    await nc.close()


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(main(), timeout=120))
