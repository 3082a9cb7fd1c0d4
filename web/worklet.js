// Runs on the browser's audio thread: hands on what the microphone hears, a few milliseconds a time.
class Microphone extends AudioWorkletProcessor {
  process([[samples]]) {
    if (samples) this.port.postMessage(samples.slice());
    return true;
  }
}

registerProcessor("microphone", Microphone);
