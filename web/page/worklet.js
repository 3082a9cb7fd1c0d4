// Runs on the browser's audio thread: hands on what the microphone hears, about 20 ms a time.
const SIZE = 1024;

class Microphone extends AudioWorkletProcessor {
  #heard = new Float32Array(SIZE);
  #used = 0;

  process([[samples]]) {
    if (!samples) return true;
    this.#heard.set(samples, this.#used); // a block has 128 samples, of which SIZE is a multiple
    this.#used += samples.length;
    if (this.#used === SIZE) {
      this.port.postMessage(this.#heard);
      this.#used = 0;
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
