from __future__ import annotations

import pytest
from tests.realtime.harness import Counted, check_frame, sound, types

from vivavoce.realtime.answer import Answer
from vivavoce.realtime.conversation import Conversation
from vivavoce.realtime.values import FunctionCall, OutputAudio, OutputText, Response, Usage

SENTENCE = "This sentence takes two seconds "  # 32 characters


def begin(*, modality="audio", in_conversation=True):
    conversation = Conversation()
    response = Response(id="r", output_modalities=(modality,))
    answer = Answer(response, conversation if in_conversation else None, Counted(), 48_000)
    assert types(answer.begin()) == ["response.created"]
    return answer, conversation


def run(events):
    events = list(events)
    for event in events:
        check_frame(event.__class__(**{f: getattr(event, f) for f in event.__struct_fields__} | {"event_id": "e"}))
    return types(events)


ADDED = ["response.output_item.added", "conversation.item.added"]
DONE = ["conversation.item.done", "response.output_item.done"]
SPOKEN = ["response.output_audio.done", "response.output_audio_transcript.done", "response.content_part.done"]


def test_speech_in_order():
    answer, _ = begin()
    said = run(answer.say("Hello."))
    assert said == [*ADDED, "response.content_part.added", "response.output_audio_transcript.delta"]
    assert run(answer.speak(sound(500))) == ["response.output_audio.delta"]
    assert run(answer.say(" Bye.")) == ["response.output_audio_transcript.delta"]
    assert run(answer.close("completed", None, Usage())) == [*SPOKEN, *DONE, "response.done"]
    assert answer.audio_ms == 500


def test_text_in_order():
    answer, conversation = begin(modality="text")
    assert run(answer.say("Hello.")) == [*ADDED, "response.content_part.added", "response.output_text.delta"]
    closed = run(answer.close("completed", None, Usage()))
    assert closed == ["response.output_text.done", "response.content_part.done", *DONE, "response.done"]
    assert conversation.get("item_1").item.content == (OutputText(text="Hello."),)


def test_out_of_band_is_not_of_the_conversation():
    answer, conversation = begin(in_conversation=False)
    assert run(answer.say("Hello.")) == [
        ADDED[0],
        "response.content_part.added",
        "response.output_audio_transcript.delta",
    ]
    arguments = ["response.function_call_arguments.delta", "response.function_call_arguments.done"]
    assert run(answer.call("look", "{}", None)) == [*SPOKEN, DONE[1], ADDED[0], *arguments, DONE[1]]
    assert run(answer.close("completed", None, Usage())) == ["response.done"]
    assert len(conversation) == 0


def test_a_call_closes_what_was_said_and_more_words_open_a_new_item():
    answer, conversation = begin()
    run(answer.say("One moment."))
    run(answer.call("look", '{"a":1}', "mine"))
    run(answer.say("Well."))
    run(answer.close("completed", None, Usage()))
    first, call, last = conversation
    assert (first.item.content, last.item.content) == (
        (OutputAudio(transcript="One moment."),),
        (OutputAudio(transcript="Well."),),
    )
    assert call.item == FunctionCall(id="item_2", status="completed", call_id="mine", name="look", arguments='{"a":1}')
    assert [item.id for item in answer.response.output] == [first.id, call.id, last.id]


@pytest.mark.parametrize(
    ("spoken", "kept"),
    [
        ([("Never sounded.", 0)], ""),
        ([(SENTENCE, 2000)], SENTENCE),
        ([(SENTENCE, 2000), ("Never sounded.", 0)], SENTENCE.rstrip()),
        ([(SENTENCE, 480)], "This"),
        ([(SENTENCE, 2000), (SENTENCE, 960)], SENTENCE + "This sentence"),
        ([(SENTENCE, 400), (SENTENCE, 2000)], SENTENCE * 2),
    ],
)
def test_a_cancelled_answer_is_remembered_as_far_as_its_sound_was_sent(spoken, kept):
    answer, conversation = begin()
    for text, ms in spoken:
        run(answer.say(text))
        run(answer.speak(sound(ms))) if ms else None
    run(answer.close("cancelled", None, Usage()))
    (entry,) = conversation
    assert entry.item.content == (OutputAudio(transcript=kept),)
    assert entry.item.status == "incomplete"
    assert answer.response.output[0].content == (OutputAudio(transcript="".join(text for text, _ in spoken)),)


def test_what_is_settled_stays():
    answer, conversation = begin()
    run(answer.say(SENTENCE))
    run(answer.speak(sound(2000)))
    answer.settle("nowhere")
    assert conversation.get("item_1").item.content == ()
    answer.settle("item_1")
    conversation.truncate("item_1", 500)
    run(answer.say("More."))
    run(answer.speak(sound(2000)))
    answer.settle("item_1")
    run(answer.call("look", '{"a":1}', None))
    run(answer.say("Most."))
    run(answer.close("completed", None, Usage()))
    first, call, last = conversation
    assert first.item.content == (OutputAudio(transcript="This"),)
    assert call.item.arguments == '{"a":1}'
    assert last.item.content == (OutputAudio(transcript="Most."),)


def test_text_is_never_settled():
    answer, conversation = begin(modality="text")
    run(answer.say("Hello."))
    answer.settle("item_1")
    assert conversation.get("item_1").item.content == ()


def test_an_item_that_was_deleted_is_not_announced_as_done():
    answer, conversation = begin()
    run(answer.say("Hello."))
    conversation.remove("item_1")
    assert run(answer.close("completed", None, Usage())) == [*SPOKEN, DONE[1], "response.done"]
    assert len(conversation) == 0
