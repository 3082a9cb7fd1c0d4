// Runs on the browser's audio thread: posts the microphone's samples in chunks of about 20 ms.
const SIZE = 1024;

class Microphone extends AudioWorkletProcessor {
  #chunk = new Float32Array(SIZE);
  #used = 0;

  process([[samples]]) {
    if (!samples) return true;
    this.#chunk.set(samples, this.#used); // a block has 128 samples, of which SIZE is a multiple
    this.#used += samples.length;
    if (this.#used === SIZE) {
      this.port.postMessage(this.#chunk);
      this.#used = 0;
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
