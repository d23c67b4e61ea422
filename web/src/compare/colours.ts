/**
 * The colours of compared curves. A task keeps the place that it was given when it was chosen, whatever is added or removed
 * later: places are part of the page's address. After eight colours the dashes change.
 */

export interface Chosen {
  ids: readonly string[];
  /** The place of each id, from 1, no two alike. */
  places: readonly number[];
}

export const COLOURS = 8;
const DASHES: readonly (number[] | undefined)[] = [undefined, [6, 3], [2, 3], [9, 3, 2, 3]];

/** What an address says; without places, or with ones that cannot be right, they follow the order of the ids. */
export function chosenOf(ids: readonly string[], places: readonly number[] | undefined): Chosen {
  const distinct = [...new Set(ids)];
  const isUsable = places?.length === distinct.length && new Set(places).size === places.length;
  return { ids: distinct, places: isUsable ? places : distinct.map((_, at) => at + 1) };
}

/** With more ids, each at the lowest free place. */
export function added({ ids, places }: Chosen, more: readonly string[]): Chosen {
  const taken = new Set(places);
  const next = { ids: [...ids], places: [...places] };
  for (const id of more) {
    if (next.ids.includes(id)) continue;
    let place = 1;
    while (taken.has(place)) place += 1;
    taken.add(place);
    next.ids.push(id);
    next.places.push(place);
  }
  return next;
}

export function removed({ ids, places }: Chosen, id: string): Chosen {
  const at = ids.indexOf(id);
  return { ids: ids.filter((_, other) => other !== at), places: places.filter((_, other) => other !== at) };
}

/** What an address has to say: places only where they do not follow the order. */
export function address({ ids, places }: Chosen): { ids: string[] | undefined; places: number[] | undefined } {
  const isPlain = places.every((place, at) => place === at + 1);
  return { ids: ids.length === 0 ? undefined : [...ids], places: isPlain ? undefined : [...places] };
}

/** The number of the colour of a place, from 1, and its dashes. */
export function lookOf(place: number): { colour: number; dash: number[] | undefined } {
  return { colour: ((place - 1) % COLOURS) + 1, dash: DASHES[Math.floor((place - 1) / COLOURS) % DASHES.length] };
}
