"""langmem 0.0.30 on the pipeline: `create_multi_prompt_optimizer(kind="gradient")`, its default kind.

langmem has no training loop. The batches, their concurrency, the validation and the taking back are this script's, so that
its wall time is partly this script's merit; what it asks a model, and in what order, is its own.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.setting import KEY, THREADS, Row, Setting, Visit, comment, load, right


async def run(setting: Setting) -> None:
    from langchain_openai import ChatOpenAI
    from langmem import create_multi_prompt_optimizer
    from openai import AsyncOpenAI
    from pydantic import SecretStr

    client = AsyncOpenAI(base_url=setting.base, api_key=KEY, max_retries=0)
    room = asyncio.Semaphore(THREADS)
    critic = ChatOpenAI(model="critic", base_url=setting.base, api_key=SecretStr(KEY), max_retries=0)
    optimizer: Any = create_multi_prompt_optimizer(critic, kind="gradient")

    async def pipeline(texts: Mapping[str, str], row: Row) -> list[Visit]:
        visits: list[Visit] = []
        text = row.question
        async with room:
            for node in setting.nodes:
                message = node.message(text)
                reply = await client.chat.completions.create(
                    model="worker",
                    messages=[{"role": "system", "content": texts[node.name]}, {"role": "user", "content": message}],
                )
                text = reply.choices[0].message.content or ""
                visits.append(Visit(node.name, message, text))
        return visits

    async def runs(texts: Mapping[str, str], rows: Sequence[Row]) -> list[list[Visit]]:
        return list(await asyncio.gather(*(pipeline(texts, row) for row in rows)))

    async def score(texts: Mapping[str, str]) -> float:
        done = zip(await runs(texts, setting.validation), setting.validation, strict=True)
        return sum(right(run[-1].reply, row.answer) for run, row in done) / len(setting.validation)

    def trajectory(run: list[Visit], row: Row) -> tuple[list[dict[str, str]], dict[str, object]]:
        said = [
            message
            for visit in run
            for message in ({"role": "user", "content": visit.message}, {"role": "assistant", "content": visit.reply})
        ]
        output = run[-1].reply
        return said, {"score": int(right(output, row.answer)), "comment": comment(output, row.answer)}

    setting.begin()
    texts = setting.texts
    best = await score(texts)
    for batch in setting.batches():
        done = await runs(texts, batch)
        told = [trajectory(run, row) for run, row in zip(done, batch, strict=True)]
        prompts = [{"name": name, "prompt": text} for name, text in texts.items()]
        new = {it["name"]: it["prompt"] for it in await optimizer.ainvoke({"trajectories": told, "prompts": prompts})}
        if new == texts:
            continue
        now = await score(new)
        if now >= best:
            best, texts = now, new
    setting.finish("langmem", "langmem", texts, validation=best)


def main() -> None:
    setting = load()
    os.environ.update(OPENAI_API_KEY=KEY, LANGSMITH_TRACING="false")
    asyncio.run(run(setting))


if __name__ == "__main__":
    main()
