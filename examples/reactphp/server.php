<?php
// A ReactPHP HTTP server that drains: on its stop signal it takes no new connection, finishes what is in flight, and ends with 0.
// Usage: php server.php AUTOLOAD LISTEN     (LISTEN as 127.0.0.1:8080; a request may ask for /?sleep=SECONDS)

error_reporting(E_ALL & ~E_DEPRECATED); // Debian 12's ReactPHP is older than its PHP 8.2
require $argv[1];

$loop = React\EventLoop\Factory::create();
$inFlight = 0;
$draining = false;

$finish = function () use (&$inFlight, &$draining, $loop) {
    if ($draining && $inFlight === 0) {
        echo "drained\n";
        $loop->stop();
    }
};

$http = new React\Http\Server($loop, function (Psr\Http\Message\ServerRequestInterface $request) use (&$inFlight, $finish, $loop) {
    $sleep = (float) ($request->getQueryParams()['sleep'] ?? 0);
    $inFlight++;
    echo "request {$request->getUri()->getPath()} sleep={$sleep}\n";
    return new React\Promise\Promise(function ($resolve) use ($sleep, &$inFlight, $finish, $loop) {
        $loop->addTimer($sleep, function () use ($resolve, &$inFlight, $finish, $loop) {
            $resolve(new React\Http\Message\Response(200, ['Content-Type' => 'text/plain', 'Connection' => 'close'], 'pid ' . getmypid() . "\n"));
            // The answer must be on its way before the loop may stop.
            $loop->addTimer(0.05, function () use (&$inFlight, $finish) { $inFlight--; $finish(); });
        });
    });
});

$socket = new React\Socket\Server($argv[2], $loop);
$http->listen($socket);
foreach ([SIGTERM, SIGINT] as $signal) {
    $loop->addSignal($signal, function () use ($socket, &$draining, &$inFlight, $finish) {
        echo "draining, {$inFlight} in flight\n";
        $draining = true;
        $socket->close();
        $finish();
    });
}
echo 'listening on ', $socket->getAddress(), ' pid=', getmypid(), "\n";
$loop->run();
echo "bye\n";
