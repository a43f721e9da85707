"""An OAuth 2.0 server that nobody here wrote: django-oauth-toolkit with its own pages and database.

Only what a deployment must bring is here: settings, a signed-in user, a protected resource, and two routes
under /peer/ by which the test registers its redirect URI and asks the server's own database what lives.
Usage: django_server.py DATABASE_FILE. Prints one JSON line with its URL when it listens; ends with stdin.
"""

import json
import os
import socketserver
import sys
import threading
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings

settings.configure(
    DEBUG=False,
    SECRET_KEY=os.urandom(32).hex(),
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1], "OPTIONS": {"timeout": 20}}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "oauth2_provider",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        f"{__name__}.sign_in",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
        }
    ],
    OAUTH2_PROVIDER={
        "SCOPES": {"read": "Read", "write": "Write"},
        "ACCESS_TOKEN_EXPIRE_SECONDS": 4,
        "ROTATE_REFRESH_TOKEN": True,
        "REFRESH_TOKEN_REUSE_PROTECTION": True,
        "PKCE_REQUIRED": True,
        "ALLOWED_REDIRECT_URI_SCHEMES": ["http", "https"],
    },
)
django.setup()

from django.contrib.auth import get_user_model, login  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import include, path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from oauth2_provider.decorators import protected_resource  # noqa: E402
from oauth2_provider.models import get_application_model, get_refresh_token_model  # noqa: E402

CLIENT = {"client_id": "latchkey-test", "client_secret": "latchkey-test-secret:+%"}


def sign_in(get_response):
    """Every browser is Ada: consent is the server's own page, signing in is not what is tested."""

    def middleware(request):
        if request.path.startswith("/o/authorize") and not request.user.is_authenticated:
            login(request, get_user_model().objects.get(username="ada"))
        return get_response(request)

    return middleware


@csrf_exempt
def register(request):
    """Registers the redirect URI that Latchkey shows for its auth config."""
    model = get_application_model()
    model.objects.update_or_create(
        client_id=CLIENT["client_id"],
        defaults={
            "name": "Latchkey",
            "client_secret": CLIENT["client_secret"],
            "client_type": model.CLIENT_CONFIDENTIAL,
            "authorization_grant_type": model.GRANT_AUTHORIZATION_CODE,
            "redirect_uris": json.loads(request.body)["redirect_uri"],
        },
    )
    return JsonResponse(CLIENT)


def tokens(_request):
    """What the server's own database says of refresh tokens."""
    model = get_refresh_token_model()
    living = model.objects.filter(revoked__isnull=True).count()
    return JsonResponse({"living": living, "ever": model.objects.count()})


@protected_resource(scopes=["read"])
def me(request):
    user = request.resource_owner
    return JsonResponse({"sub": str(user.pk), "username": user.get_username()})


urlpatterns = [
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("api/me", me),
    path("peer/register", register),
    path("peer/tokens", tokens),
]


class Threading(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *_arguments):
        pass


def main():
    call_command("migrate", verbosity=0)
    get_user_model().objects.create_user("ada")
    server = make_server("127.0.0.1", 0, get_wsgi_application(), Threading, Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main()
