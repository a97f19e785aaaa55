"""A server with vLLM's answers and no model, of the size of retail's: what is left to measure is the client.

    python experiments/benchmarks/answers.py [--tools 6] [--prompt 5400] [--output 60]

Prints the port of 127.0.0.1 that it listens on. The first `--tools` answers of a conversation call a tool, the others
are text. An answer carries the prompt's token ids where the request asks for them, as vLLM does.
"""

import argparse
import asyncio
import json
import random
import re

VOCABULARY = 49152
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
TOOL_MESSAGE = re.compile(rb'"role": ?"tool"')
WANTS_IDS = re.compile(rb'"return_token_ids": ?true')
MODEL = re.compile(rb'"model": ?"([^"]*)"')
NAME = "the-model-that-was-asked"


def answer(calls_tool: bool, with_prompt_ids: bool, prompt: int, output: int) -> bytes:
    """The JSON of one chat completion; NAME stands where the model's name belongs."""
    draw = random.Random(0)
    sampled = [draw.randrange(VOCABULARY) for _ in range(output)]
    order = {"name": "get_order_details", "arguments": json.dumps({"order_id": "#W2378156"})}
    call = {"id": "chatcmpl-tool-" + "a" * 32, "type": "function", "function": order}
    message = {
        "role": "assistant",
        "content": None if calls_tool else "I will look into the order for you right away, please wait. " * 4,
        "tool_calls": [call] if calls_tool else [],
    }
    logprobs = [
        {"token": f"token_id:{i}", "logprob": -draw.random(), "bytes": list(b"token_id:%d" % i), "top_logprobs": []}
        for i in sampled
    ]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": logprobs},
        "finish_reason": "tool_calls" if calls_tool else "stop",
        "token_ids": sampled if with_prompt_ids else None,
    }
    usage = {"prompt_tokens": prompt, "total_tokens": prompt + output, "completion_tokens": output}
    body = {
        "id": "chatcmpl-" + "b" * 32,
        "object": "chat.completion",
        "created": 1,
        "model": NAME,
        "choices": [choice],
        "usage": usage,
        "prompt_token_ids": [draw.randrange(VOCABULARY) for _ in range(prompt)] if with_prompt_ids else None,
    }
    return json.dumps(body, separators=(",", ":")).encode()


class Connection(asyncio.Protocol):
    """HTTP/1.1 with kept connections, as far as one POST after another needs it."""

    def __init__(self, answers: dict[tuple[bool, bool], bytes], tools: int) -> None:
        self.answers, self.tools, self.received = answers, tools, bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n") + 4) >= 4:
            length = LENGTH.search(self.received[:end])
            whole = end + int(length[1]) if length else end
            if len(self.received) < whole:
                return
            self.reply(bytes(self.received[end:whole]))
            del self.received[:whole]

    def reply(self, body: bytes) -> None:
        calls_tool = len(TOOL_MESSAGE.findall(body)) < self.tools
        content = self.answers[calls_tool, WANTS_IDS.search(body) is not None]
        model = MODEL.search(body)
        content = content.replace(NAME.encode(), model[1] if model else b"")
        self.transport.write(HEAD % len(content) + content)


async def serve(tools: int, prompt: int, output: int) -> None:
    kinds = [(call, ids) for call in (False, True) for ids in (False, True)]
    answers = {kind: answer(*kind, prompt, output) for kind in kinds}
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(answers, tools), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=int, default=6, help="tool calls of a conversation")
    parser.add_argument("--prompt", type=int, default=5400, help="tokens of a prompt")
    parser.add_argument("--output", type=int, default=60, help="tokens of an answer")
    options = parser.parse_args()
    asyncio.run(serve(options.tools, options.prompt, options.output))
