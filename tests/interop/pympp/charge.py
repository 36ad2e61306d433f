# SPDX-License-Identifier: MIT OR Apache-2.0
"""Pays for one answer with pympp as published, and prints what came back as JSON.

    python tests/interop/pympp/charge.py REQUEST

REQUEST is JSON: rpc_url, chain_id, token, the payer's key, the URL that sells, and `method`: tempo, or evm with the token's
EIP-712 name and version.
"""

import asyncio
import json
import sys

from mpp.client import Mpp


def tempo(request: dict):
    from mpp.methods.tempo import TempoAccount
    from mpp.methods.tempo.client import charge

    account = TempoAccount.from_key(request["key"])
    return charge(account=account, rpc_url=request["rpc_url"], currency=request["token"])


def evm(request: dict):
    from eth_account import Account
    from mpp.methods.evm.client import charge

    return charge(
        currency=request["token"],
        account=Account.from_key(request["key"]),
        chain_id=request["chain_id"],
        decimals=6,
        authorization={"name": request["name"], "version": request["version"]},
    )


async def main(request: dict) -> dict:
    method = {"tempo": tempo, "evm": evm}[request["method"]](request)
    async with Mpp(methods=[method]) as mpp:
        answer = await mpp.fetch(request["url"])
        return {
            "status": answer.status_code,
            "body": answer.text,
            "receipt": answer.headers.get("payment-receipt"),
        }


print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
