// The turns of a chat in order: those of the session's current branch, and those that only this page knows.

/** @typedef {import('./types.js').StoredTurn} StoredTurn */
/**
 * A turn and its place. `after` is the id of the turn it follows, 0 for none; `instead`: it is another version of the turns `siblings`;
 * `stand` sets its place in the session.
 * @typedef {{id: number|null, after: number|null, instead: boolean, siblings: {value: number[]}, prompt: string,
 *   stand: (stored: StoredTurn) => void}} Placed
 */

/**
 * @template {Placed} T
 * @param {StoredTurn[]} stored  what the session has
 * @param {readonly T[]} shown  what the page shows
 * @param {(stored: StoredTurn) => T} made
 * @returns {T[]}  turns that were shown stay the same objects, so that they are not drawn again
 */
export function placed(stored, shown, made) {
  const known = new Map(shown.map((turn) => [turn.id, turn]));
  const unkept = shown.filter((turn) => turn.id === null);
  const path = stored.map((one) => {
    const turn = known.get(one.id) ?? takeSame(unkept, one) ?? made(one);
    turn.stand(one);
    return turn;
  });
  for (const turn of unkept) place(path, turn);
  return path;
}

/**
 * Finds the turn of this page that the session has stored meanwhile (its answer was stopped or broke off), and removes it from the others.
 * @template {Placed} T
 * @param {T[]} unkept
 * @param {StoredTurn} stored
 */
function takeSame(unkept, stored) {
  const at = unkept.findIndex(
    (turn) => turn.prompt === stored.prompt && turn.after === (stored.after ?? 0) && !turn.siblings.value.includes(stored.id),
  );
  return at < 0 ? undefined : unkept.splice(at, 1)[0];
}

/** @template {Placed} T @param {T[]} path @param {T} turn */
function place(path, turn) {
  const before = turn.after ? path.findIndex((one) => one.id === turn.after) : -1;
  if (turn.after && before < 0) return; // the turn before it is on another branch
  if (turn.after === null) path.push(turn);
  else if (turn.instead) path.splice(before + 1, Infinity, turn);
  else path.splice(nextKept(path, before + 1), 0, turn);
}

/** After turns of this page that are already there. @param {Placed[]} path @param {number} at */
function nextKept(path, at) {
  while (path[at]?.id === null) at++;
  return at;
}

/** Returns the id of the last turn in the session, 0 for none. @param {readonly Placed[]} turns */
export const lastKept = (turns) => turns.findLast((turn) => turn.id !== null)?.id ?? 0;

/** Returns the turns before the place of a turn that follows `after`. @template {Placed} T @param {readonly T[]} turns @param {number} after */
export const upTo = (turns, after) => turns.slice(0, turns.findIndex((turn) => turn.id === after) + 1);
