// The caller at work, beside an executor: says what it does, and stops at what is not as it should be.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { connect } from "@nats-io/transport-node";
import { act, lookup, Rejected } from "./caller.js";

const SUBJECT = "actions.payments.charge";
const nc = await connect({ servers: process.env["NATS_URL"] ?? "nats://127.0.0.1:4222" });
const key = `pay-${randomUUID()}`; // made once, when the agent decides to act, and kept with the decision

assert.equal(await lookup(nc, key), undefined);
console.log("ok: a key that nobody used is not known");

const first = await act(nc, SUBJECT, { customer: "c_1029", order: "o_1", amount: 49.9 }, key);
assert.equal(first.verdict, "accepted");
console.log("ok: the first is accepted");

const again = await act(nc, SUBJECT, { amount: 49.9, order: "o_1", customer: "c_1029" }, key);
assert.equal(again.verdict, "duplicate");
assert.equal(again.run_id, first.run_id);
console.log("ok: a retry is a duplicate: the same run");

const otherAmount = act(nc, SUBJECT, { customer: "c_1029", order: "o_1", amount: 499 }, key);
await assert.rejects(otherAmount, (error) => error instanceof Rejected && error.receipt.reason === "payload_mismatch");
console.log("ok: another payload is rejected");

const done = await lookup(nc, key, 30_000);
assert.equal(done?.run_id, first.run_id);
assert.equal(done?.state, "succeeded");
console.log("ok: a look-up waits for the result:", JSON.stringify(done?.result?.data));

await nc.close();
