// Small functions on arrays of numbers.

/**
 * @param {Float32Array} before
 * @param {Float32Array} after
 */
export function joined(before, after) {
  const whole = new Float32Array(before.length + after.length);
  whole.set(before);
  whole.set(after, before.length);
  return whole;
}

/**
 * @param {ArrayLike<number>} values
 * @returns {number} 0 of none
 */
export function mean(values) {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum / Math.max(values.length, 1);
}

/**
 * @param {ArrayLike<number>} values
 * @returns {number} 0 of none
 */
export function variance(values) {
  const middle = mean(values);
  return mean(Float64Array.from(values, (value) => (value - middle) ** 2));
}
