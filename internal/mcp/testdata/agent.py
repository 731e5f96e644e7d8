# A client of an agent that is not ours: lists the tools, and asks why an event did not arrive.
# Usage: agent.py WHERE KEY WEBHOOK EVENT, where WHERE is the URL of /mcp, or the program to start.
import asyncio
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client


def connection(where, key):
    if where.startswith("http"):
        return streamable_http_client(where, http_client=create_mcp_http_client(headers={"Authorization": "Bearer " + key}))
    return stdio_client(StdioServerParameters(command=where, args=["mcp"], env={**os.environ, "ATLAS_WEBHOOKS_API_KEY": key}))


async def main(where, key, webhook, event):
    async with connection(where, key) as streams:
        async with ClientSession(streams[0], streams[1]) as session:
            print((await session.initialize()).server_info)
            print("tools", *[t.name for t in (await session.list_tools()).tools])
            for tool, arguments in [("why", {"webhook_id": webhook, "event_id": event}), ("get_event", {"event_id": event})]:
                print((await session.call_tool(tool, arguments)).content[0].text)


asyncio.run(main(*sys.argv[1:]))
