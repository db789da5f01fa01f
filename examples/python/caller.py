"""Publish an action, wait for its receipt, and retry safely."""

import asyncio
import hashlib
import json

from nats.js.errors import NoStreamResponseError, ServiceUnavailableError

RECEIPT_WITHIN = 5  # seconds, then publish again


class Rejected(Exception):
    """The gate refused the action. To publish it again as it is changes nothing."""

    def __init__(self, receipt):
        super().__init__(f"{receipt['reason']}: {receipt['detail']}")
        self.reason = receipt["reason"]
        self.receipt = receipt


def tool_call_key(run, step, tool, arguments):
    """The key of an agent's tool call: the same each time the same step makes the same call."""
    call = json.dumps([run, step, tool, arguments], sort_keys=True, ensure_ascii=False)
    return f"{run}/{step}/{hashlib.sha256(call.encode()).hexdigest()[:32]}"


async def act(nc, subject, payload, key):
    """Publish one action under this key, and return its receipt. Raises `Rejected`.

    Safe to call again at any time, by any process: it returns the run that the key has.
    """
    inbox = nc.new_inbox()
    receipts = await nc.subscribe(inbox)
    headers = {"Idempotency-Key": key, "Oncegate-Reply-To": inbox}
    try:
        while True:
            try:
                await nc.jetstream().publish(subject, json.dumps(payload).encode(), headers=headers)
                message = await receipts.next_msg(timeout=RECEIPT_WITHIN)
                break
            except asyncio.TimeoutError:
                pass  # Was it stored? Was it judged? It does not matter: publish again, under the same key.
            except (NoStreamResponseError, ServiceUnavailableError):
                await asyncio.sleep(1)
    finally:
        await receipts.unsubscribe()
    receipt = json.loads(message.data)
    if receipt["verdict"] == "rejected":
        raise Rejected(receipt)
    return receipt


async def outcome(nc, subject, payload, key):
    """`act`, and wait until the run has a result: `state` is `succeeded` or `failed`.

    Where the executor gives a run back, the next try under the key is a new run.
    """
    pause = 0.2
    while (receipt := await act(nc, subject, payload, key))["state"] == "pending":
        await asyncio.sleep(pause)
        pause = min(2 * pause, 30)
    return receipt
