"""Chat templates as checkpoints have them, and conversations as a server plays them, with the micro tokenizer."""

import json
from pathlib import Path

from transformers import AutoTokenizer

from harness.episode import Episode, Turn
from harness.policy import MICRO, hub
from harness.rollout import SourcedEpisode
from harness.seams import Outcome

# As most models have it: the tools as they come, a turn's text, then its calls.
STOCK = """
{%- if tools -%}
  {{- '<|im_start|>system\\n' -}}
  {%- for tool in tools -%}{{- tool | tojson + '\\n' -}}{%- endfor -%}
  {{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
  {{- '<|im_start|>' + message.role + '\\n' + message.content -}}
  {%- for call in message.tool_calls or [] -%}
    {{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' -}}
    {{- call.function.arguments if call.function.arguments is string else call.function.arguments | tojson -}}
    {{- '}\\n</tool_call>' -}}
  {%- endfor -%}
  {{- '<|im_end|>\\n' -}}
{%- endfor -%}
{{- '<|im_start|>assistant\\n' if add_generation_prompt else '' -}}
"""
# Text or calls, never both: nothing to show twice.
EITHER = STOCK.replace("in message.tool_calls or []", "in (message.tool_calls if not message.content) or []")

# A served turn begins with more than ART's rendering of it has: no opening is as it was served.
THINKING = STOCK.replace("{{- '<|im_start|>assistant\\n' if", "{{- '<|im_start|>assistant\\n<think>\\n' if")
# The last turn begins in another way than one that others follow, and than it was served.
LAST = STOCK.replace(
    "message.role + '\\n' +",
    "message.role + '\\n' + ('<think>\\n' if loop.last and message.role == 'assistant' else '') +",
)

TEXTS = {
    "micro": (MICRO / "chat_template.jinja").read_text(),
    "qwen": hub.qwen_template(MICRO),
    "stock": STOCK,
    "either": EITHER,
    "thinking": THINKING,
    "last": LAST,
}
OUTCOME = Outcome(1.0, 1, 1, 0, 0, True)


def checkpoint(folder: Path, name: str) -> Path:
    """A folder with the micro policy's tokenizer and one of TEXTS as its chat template."""
    folder = folder / name
    if not folder.is_dir():
        tokenizer = AutoTokenizer.from_pretrained(MICRO)
        tokenizer.chat_template = TEXTS[name]
        tokenizer.save_pretrained(folder)
    return folder


def call_text(task: str, name: str = "close", spaces: int = 0) -> str:
    arguments = json.dumps({"id": task})
    return f'<tool_call>\n{{"name": "{name}", "arguments": {" " * spaces}{arguments}}}\n</tool_call>'


def play(tokenizer, tools, *turns, task: str = "task_7", key: str = "key") -> SourcedEpisode:
    """A conversation as a server tokenises it. A turn is the text that the policy samples; one that begins as a call
    does is answered by the tool, any other by the user."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"Close {task}"}]
    kept, made = list(messages), []
    for text in turns:
        prompt = tokenizer.apply_chat_template(
            messages, tools=tools or None, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        output = (*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id)
        calls, content = _parsed(text, len(messages))
        made.append(Turn(tuple(prompt), output, (-0.1,) * len(output), content, calls, "stop", "base", 1.0))
        kept.append(len(made) - 1)
        sent = [
            {
                "id": c["id"],
                "type": "function",
                "function": {"name": c["name"], "arguments": json.loads(c["arguments"])},
            }
            for c in calls
        ]
        messages.append({"role": "assistant", "content": content or "", **({"tool_calls": sent} if sent else {})})
        answer = {"role": "tool", "tool_call_id": sent[0]["id"], "content": "{}"} if sent else None
        messages.append(answer or {"role": "user", "content": "Go on."})
        kept.append(messages[-1])
    return SourcedEpisode(Episode(task, tuple(kept[:-1]), tuple(made), OUTCOME, 0.1), key, None)


def _parsed(text, position):
    """Calls and content, as a server's tool parser finds them."""
    content, _, call = text.partition("<tool_call>")
    if not call:
        return (), text
    found = json.loads(call.removesuffix("</tool_call>"))
    made = {"id": f"call_{position}_0", "name": found["name"], "arguments": json.dumps(found["arguments"])}
    return (made,), content or None
