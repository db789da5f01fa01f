// Publish an action, wait for its receipt, retry safely; and ask what is known of a key.
import { jetstream } from "@nats-io/jetstream";
import { createInbox, delay, headers, type NatsConnection } from "@nats-io/transport-node";

const RECEIPT_WITHIN_MS = 5_000; // then publish again
const INBOX = "_INBOX"; // as in connect({ inboxPrefix })

/** What is known of a key: the answer to a look-up. */
export interface Known {
  key: string | null;
  scope: string[];
  run_id: string | null;
  state: "pending" | "succeeded" | "failed" | null;
  first: { sequence: number; time: string; ledger_sequence: number } | null;
  expires_at: string | null;
  result: { status: string; ledger_sequence: number; data?: unknown; data_base64?: string } | null;
}

export interface Receipt extends Known {
  verdict: "accepted" | "duplicate" | "rejected";
  replayed: boolean;
  reason: string | null;
  detail: string | null;
  source: { stream: string; sequence: number; time: string };
}

/** The gate refused the action. To publish it again as it is changes nothing. */
export class Rejected extends Error {
  constructor(readonly receipt: Receipt) {
    super(`${receipt.reason}: ${receipt.detail}`);
  }
}

/**
 * Publishes one action under this key, and returns its receipt. Throws `Rejected`.
 *
 * Safe to call again at any time, by any process: it returns the run that the key has.
 */
export async function act(nc: NatsConnection, subject: string, payload: unknown, key: string): Promise<Receipt> {
  for (;;) {
    const receipt = await tryOnce(nc, subject, payload, key);
    if (receipt?.verdict === "rejected") throw new Rejected(receipt);
    if (receipt) return receipt;
    // Was it stored? Was it judged? It does not matter: publish again, under the same key.
    await delay(1_000);
  }
}

async function tryOnce(nc: NatsConnection, subject: string, payload: unknown, key: string) {
  const inbox = createInbox(INBOX);
  const receipts = nc.subscribe(inbox, { max: 1, timeout: RECEIPT_WITHIN_MS });
  const asked = headers();
  asked.set("Idempotency-Key", key);
  asked.set("Oncegate-Reply-To", inbox);
  try {
    await jetstream(nc).publish(subject, JSON.stringify(payload), { headers: asked });
    for await (const message of receipts) return message.json<Receipt>();
  } catch (error) {
    if (nc.isClosed()) throw error;
  } finally {
    receipts.unsubscribe();
  }
  return undefined;
}

/**
 * Asks for a key, without publishing. With `waitMs` (at most 60000) it waits for the run's result.
 * `undefined`: the key is not known. Whoever may ask sees any key: most callers have receipts instead.
 */
export async function lookup(nc: NatsConnection, key: string, waitMs = 0): Promise<Known | undefined> {
  const request = JSON.stringify({ key, wait_ms: waitMs });
  const answer = await nc.request("oncegate.svc.lookup", request, { timeout: waitMs + 5_000 });
  const code = answer.headers?.get("Nats-Service-Error-Code");
  if (code === "404") return undefined;
  if (code) throw new Error(`look-up of ${key}: ${answer.headers?.get("Nats-Service-Error")} (${code})`);
  return answer.json<Known>();
}
