// Fast Fourier transform of 3 * 2^n points: Stockham's of 2^n points, and a butterfly of three.

/** The power spectrum of real samples. */
export class Spectrum {
  /** @param {number} points */
  constructor(points) {
    const size = points / 3;
    const complex = () => [new Float64Array(size), new Float64Array(size)];
    this.points = points;
    this.cos = Float64Array.from({ length: points }, (_, k) => Math.cos((2 * Math.PI * k) / points));
    this.sin = Float64Array.from({ length: points }, (_, k) => -Math.sin((2 * Math.PI * k) / points));
    this.thirds = [complex(), complex(), complex()];
    this.spare = complex();
  }

  /**
   * Power of each frequency from 0 to half the rate of sampling.
   *
   * @param {Float64Array} samples (points,)
   * @param {Float64Array} power (points / 2 + 1,), written
   */
  power(samples, power) {
    const { points, cos, sin, thirds } = this;
    const size = points / 3;
    for (let third = 0; third < 3; third++) {
      const [real, imaginary] = thirds[third];
      for (let n = 0; n < size; n++) real[n] = samples[3 * n + third];
      imaginary.fill(0);
      thirds[third] = this.#transform(thirds[third]);
    }
    const [[r0, i0], [r1, i1], [r2, i2]] = thirds;
    for (let k = 0; k < power.length; k++) {
      const n = k % size;
      const one = k;
      const two = (2 * k) % points;
      const real = r0[n] + cos[one] * r1[n] - sin[one] * i1[n] + cos[two] * r2[n] - sin[two] * i2[n];
      const imaginary = i0[n] + cos[one] * i1[n] + sin[one] * r1[n] + cos[two] * i2[n] + sin[two] * r2[n];
      power[k] = real * real + imaginary * imaginary;
    }
  }

  /** Stockham's FFT of 2^n complex numbers, in natural order. */
  #transform(values) {
    let from = values;
    let to = this.spare;
    const size = from[0].length;
    for (let half = size / 2, stride = 1; half >= 1; half /= 2, stride *= 2) {
      const [xr, xi] = from;
      const [yr, yi] = to;
      for (let group = 0; group < half; group++) {
        const c = this.cos[3 * group * stride];
        const s = this.sin[3 * group * stride];
        for (let q = 0; q < stride; q++) {
          const one = stride * group + q;
          const two = one + size / 2;
          const sum = one + stride * group;
          const difference = sum + stride;
          const real = xr[one] - xr[two];
          const imaginary = xi[one] - xi[two];
          yr[sum] = xr[one] + xr[two];
          yi[sum] = xi[one] + xi[two];
          yr[difference] = c * real - s * imaginary;
          yi[difference] = c * imaginary + s * real;
        }
      }
      [from, to] = [to, from];
    }
    this.spare = to;
    return from;
  }
}
