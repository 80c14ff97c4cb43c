"""A gRPC service and calls to it, with messages that are bytes: `serve` prints its port and runs until its input ends,
`call ADDRESS NAME` makes one call (or a few) and says what came of it."""

import sys
import threading
import time
from concurrent import futures

import grpc

LIMITS = [
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_send_message_length", 16 << 20),
    ("grpc.enable_http_proxy", 0),
]


class Service(grpc.GenericRpcHandler):
    """The service `t.T`."""

    def __init__(self):
        self.cancelled = threading.Event()

    def service(self, details):
        kinds = {
            "/t.T/Echo": grpc.unary_unary_rpc_method_handler(self.echo),
            "/t.T/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "/t.T/Slow": grpc.unary_unary_rpc_method_handler(self.slow),
            "/t.T/Count": grpc.unary_stream_rpc_method_handler(self.count),
            "/t.T/Sum": grpc.stream_unary_rpc_method_handler(self.sum),
            "/t.T/Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "/t.T/Forever": grpc.unary_stream_rpc_method_handler(self.forever),
            "/t.T/WasCancelled": grpc.unary_unary_rpc_method_handler(self.was_cancelled),
        }
        return kinds.get(details.method)

    def echo(self, request, context):
        sent = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-initial", sent.get("x-ask", "-")),))
        context.set_trailing_metadata((("x-trailing-bin", b"\x00\xff"),))
        return request

    def fail(self, request, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: \u00fc")

    def slow(self, request, context):
        # As long as the caller waits, but not for ever.
        over = threading.Event()
        context.add_callback(over.set)
        over.wait(30)
        return b"late"

    def count(self, request, context):
        for n in range(int(request)):
            yield b"%d" % n

    def sum(self, requests, context):
        return b"%d" % sum(len(request) for request in requests)

    def chat(self, requests, context):
        for request in requests:
            yield b"re: " + request

    def forever(self, request, context):
        context.add_callback(self.cancelled.set)
        while context.is_active():
            yield b"more"
            time.sleep(0.01)

    def was_cancelled(self, request, context):
        return b"yes" if self.cancelled.wait(5) else b"no"


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=LIMITS)
    server.add_generic_rpc_handlers((Service(),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(0)


def unary(channel):
    call = channel.unary_unary("/t.T/Echo")
    reply, facts = call.with_call(b"hello", metadata=(("x-ask", "you"),), timeout=10)
    trailing = dict(facts.trailing_metadata())
    return reply, dict(facts.initial_metadata())["x-initial"], trailing["x-trailing-bin"], facts.code().name


def large(channel):
    message = bytes(range(256)) * (4 << 12)
    reply = channel.unary_unary("/t.T/Echo")(message, timeout=20)
    return len(reply), reply == message


def fail(channel):
    try:
        channel.unary_unary("/t.T/Fail")(b"", timeout=10)
    except grpc.RpcError as error:
        return error.code().name, error.details()


def unknown(channel):
    try:
        channel.unary_unary("/t.T/Nothing")(b"", timeout=10)
    except grpc.RpcError as error:
        return (error.code().name,)


def deadline(channel):
    try:
        channel.unary_unary("/t.T/Slow")(b"", timeout=0.3)
    except grpc.RpcError as error:
        return (error.code().name,)


def slow(channel):
    try:
        channel.unary_unary("/t.T/Slow")(b"", timeout=10)
    except grpc.RpcError as error:
        return error.code().name, error.details()


def unavailable(channel):
    try:
        channel.unary_unary("/t.T/Echo")(b"", timeout=10)
    except grpc.RpcError as error:
        return (error.code().name,)


def count(channel):
    replies = list(channel.unary_stream("/t.T/Count")(b"1000", timeout=10))
    return len(replies), replies[-1]


def sums(channel):
    pieces = (b"x" * 10000 for _ in range(300))
    return (channel.stream_unary("/t.T/Sum")(pieces, timeout=10),)


def chat(channel):
    """Each message waits for the answer to the one before it."""
    ready = threading.Semaphore(1)

    def requests():
        for n in range(50):
            ready.acquire()
            yield b"%d" % n

    replies = []
    for reply in channel.stream_stream("/t.T/Chat")(requests(), timeout=10):
        replies.append(reply)
        ready.release()
    return len(replies), replies[-1]


def cancel(channel):
    stream = channel.unary_stream("/t.T/Forever")(b"", timeout=10)
    first = next(stream)
    stream.cancel()
    return first, channel.unary_unary("/t.T/WasCancelled")(b"", timeout=10)


def many(channel):
    call = channel.unary_unary("/t.T/Echo")
    waiting = [call.future(b"%d" % n, timeout=10) for n in range(200)]
    return (sum(int(one.result()) for one in waiting),)


if sys.argv[1] == "serve":
    serve()
else:
    with grpc.insecure_channel(sys.argv[2], options=LIMITS) as channel:
        for name in sys.argv[3:]:
            print(name, *globals()[name](channel), flush=True)
