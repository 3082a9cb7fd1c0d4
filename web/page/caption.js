// Words for how a take was made.

/**
 * Identity and emotion in words: the name that was used, or the shares of a blend.
 *
 * @param {import("./backend.js").Settings} set
 * @param {{identity: string | null, emotion: string | null}} made what the back end answered
 */
export function named(set, made) {
  const words = (selection, name) => {
    if (name) return name;
    if (typeof selection === "string") return selection;
    const total = Object.values(selection).reduce((sum, weight) => sum + weight, 0);
    const share = ([other, weight]) => `${Math.round((100 * weight) / total)} % ${other}`;
    return Object.entries(selection).filter(([, weight]) => weight > 0).map(share).join(" + ");
  };
  return { identity: words(set.identity, made.identity), emotion: words(set.emotion, made.emotion) };
}

/** How a take was made; arguments as of `named`. */
export function caption(set, made) {
  const { identity, emotion } = named(set, made);
  const post = [...(set.smoothMs ? [`smoothed ${set.smoothMs} ms`] : []), ...(set.mirror ? ["mirrored"] : [])];
  const steps = set.model.steps === null ? [] : [`${set.model.name}, ${set.model.steps} steps`];
  return [identity, emotion, `seed ${set.seed}`, ...post, ...steps].join(" · ");
}
