"""A bot of Pipecat for `peers.py`: in its own process and environment, over its own WebSocket transport.

PCM of 16 bits comes in at 16 kHz and goes out at 24 kHz, as the pipeline has it by default.
"""
# mypy: ignore-errors

from __future__ import annotations

import asyncio
import sys

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import InputAudioRawFrame, InterruptionFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.openai.stt import OpenAISTTService
from pipecat.services.openai.tts import OpenAITTSService
from pipecat.transports.websocket.server import (
    SingleClientWebsocketServerParams,
    SingleClientWebsocketServerTransport,
)
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

RATE_IN = 16_000
PAUSE_S, SPEECH_TIMEOUT_S = 0.1, 0.2
"""Tuned for speed: silence alone, 300 ms of it; transcription begins after the first of the two, shipped is 0.2."""


class Bare(FrameSerializer):
    """Sound, and "clear" where what was sent is not to be played on."""

    async def serialize(self, frame):
        if isinstance(frame, InterruptionFrame):
            return "clear"
        return frame.audio if isinstance(frame, OutputAudioRawFrame) else None

    async def deserialize(self, data):
        return InputAudioRawFrame(audio=data, sample_rate=RATE_IN, num_channels=1)


async def main(port, models, manner=""):
    params = SingleClientWebsocketServerParams(audio_in_enabled=True, audio_out_enabled=True, serializer=Bare())
    transport = SingleClientWebsocketServerTransport(params, host="127.0.0.1", port=int(port))
    where = {"base_url": models, "api_key": "none"}
    context = LLMContext([{"role": "system", "content": "Answer briefly."}])
    heard = LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    if manner == "tuned":
        heard.vad_analyzer = SileroVADAnalyzer(params=VADParams(stop_secs=PAUSE_S))
        stop = [SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=SPEECH_TIMEOUT_S)]
        heard.user_turn_strategies = UserTurnStrategies(stop=stop)
    users, assistants = LLMContextAggregatorPair(context, user_params=heard)
    stt, llm, tts = OpenAISTTService(**where), OpenAILLMService(**where), OpenAITTSService(**where)
    parts = [transport.input(), stt, users, llm, tts, transport.output(), assistants]
    worker = PipelineWorker(Pipeline(parts), params=PipelineParams(), cancel_on_idle_timeout=False)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


asyncio.run(main(*sys.argv[1:]))
