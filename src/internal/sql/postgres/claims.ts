// The claim of an inline append as a function.
//
// A statement sees what had ended when it began. If it took its lock and looked at the checkpoints, then a removal and a new
// registration of the version could end in between, and it would claim by what it saw before. So the function has a statement
// for the lock, and another one that begins when the lock is there.
import { claim as insertClaim } from "../checkpointClaim.js"
import { type Names, quoted } from "../names.js"
import type { Function } from "./function.js"

/** The advisory lock that the claims on a version share. A row of the version would be one that all appends write to. */
export const lockOf = ({ inline }: Names, version: string, name: string): string =>
  `hashtext('${inline}'), hashtext(${version} || ' ' || ${name})`

export const claim = (names: Names): Function => ({
  name: `${names.prefix}_claim_1`,
  // name, version, stream, positions of the last event and of the one before the append, 1 if the order of streams with
  // parked events is kept, the time limit of an idle transaction or NULL
  parameters: ["text", "integer", "text", "text", "text", "integer", "text"],
  returns: "boolean",
  volatility: "VOLATILE",
  body: `BEGIN
IF $7 IS NOT NULL THEN
  PERFORM set_config('idle_in_transaction_session_timeout', $7, true);
END IF;
IF NOT pg_try_advisory_xact_lock_shared(${lockOf(names, "$2", "$1")}) THEN
  RETURN false;
END IF;
${
    insertClaim(
      names,
      { name: "$1", version: "$2", stream: "$3", last: "$4", previous: "$5", ordered: "$6" },
      visible(names)
    )
  };
RETURN FOUND;
END`
})

/** A transaction with a snapshot of its own may still see a version that is removed: the lock of the row refuses it. */
const visible = ({ subscriptions }: Names): string =>
  `(current_setting('transaction_isolation') = 'read committed' OR EXISTS (
    SELECT NULL FROM ${quoted(subscriptions)} WHERE name = $1 AND version = $2 FOR KEY SHARE SKIP LOCKED
  ))`
