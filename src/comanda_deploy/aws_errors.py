"""What AWS answered, as one line that says the mend."""

import re

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from comanda_deploy.errors import DeployError

SIGN_IN = "run infra/scripts/eks-cluster-deploy.sh setup-aws-auth"
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
UNKNOWN_KEYS = {
    "AuthFailure",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedException"}
THROTTLED = {
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "RequestThrottled",
}


def code_of(error: ClientError) -> str:
    """Answer AWS's code of an error: "InvalidVpcID.NotFound"."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_throttled(error: Exception) -> bool:
    """Answer whether AWS was asked too often."""
    return isinstance(error, ClientError) and code_of(error) in THROTTLED


def is_lost(error: Exception) -> bool:
    """Answer whether nobody knows what became of a call, or it was not carried out and may be made again."""
    if isinstance(error, ConnectionError | HTTPClientError):
        return True
    return is_throttled(error) or (isinstance(error, ClientError) and _status(error) >= 500)


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def explain(error: Exception) -> str:
    """Answer what went wrong as one line for the operator, with the mend where there is one."""
    if isinstance(error, DeployError):
        return str(error)
    if isinstance(error, ClientError):
        return _of_answer(error)
    if isinstance(error, ProfileNotFound | NoCredentialsError | PartialCredentialsError):
        return f"there are no AWS credentials ({error}): {SIGN_IN}"
    if isinstance(error, SSOError | TokenRetrievalError):
        return f"the sign-in to AWS has ended ({error}): {SIGN_IN}"
    if isinstance(error, NoRegionError):
        return "no region is set: put one into aws.region of infra/settings.toml"
    if isinstance(error, ConnectionError | HTTPClientError):
        return f"AWS cannot be reached ({error}): look at the network, then run it again"
    if isinstance(error, BotoCoreError):
        return f"AWS's library refuses: {_one_line(str(error))}"
    return f"{type(error).__name__}: {_one_line(str(error))}: this is a fault of comanda-deploy, please report it"


def _of_answer(error: ClientError) -> str:
    code, call = code_of(error), error.operation_name
    said = _one_line(str(error.response.get("Error", {}).get("Message", "")))
    if code in EXPIRED:
        return f"the AWS credentials have expired: {SIGN_IN}, then run it again"
    if code in UNKNOWN_KEYS:
        return f"AWS does not know these credentials ({code}): {SIGN_IN}"
    if code in DENIED:
        return f"AWS does not allow {call} ({said}): have an administrator run comanda-deploy bootstrap"
    if code in THROTTLED:
        return f"AWS throttles {call} and went on throttling: run it again in a minute"
    if (status := _status(error)) >= 500:
        return f"AWS failed at {call} ({code or status}): run it again in a minute"
    return f"AWS refuses {call}: {code}: {said}"


def _one_line(text: str) -> str:
    # An encoded authorization message is pages long and says nothing to a person.
    text = re.sub(r"Encoded authorization failure message: \S+", "", text)
    return " ".join(text.split())[:500]
