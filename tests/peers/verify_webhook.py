"""Verifies webhooks with the specification's own library: one JSON object a line on stdin
({"secret", "headers", "body"}), one word a line on stdout ("ok", or why not)."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

for line in sys.stdin:
    message = json.loads(line)
    try:
        Webhook(message["secret"]).verify(message["body"], message["headers"])
        print("ok")
    except WebhookVerificationError as error:
        print(f"refused: {error}")
