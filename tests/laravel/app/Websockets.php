<?php
// A websocket server that sends back what it gets, on ReactPHP. On its stop signal it closes every connection as the
// protocol asks for, then ends.

namespace App;

use Psr\Http\Message\ServerRequestInterface;
use React\EventLoop\Factory;
use React\Http\Message\Response;
use React\Http\Middleware\StreamingRequestMiddleware;
use React\Http\Server as Http;
use React\Socket\Server as Listener;
use React\Stream\CompositeStream;
use React\Stream\ThroughStream;

class Websockets
{
    private const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
    private const CLOSE = 8;
    private const PING = 9;
    private const PONG = 10;
    private const GOING_AWAY = 1001;

    public static function serve(string $address): void
    {
        self::load(env('APP_REACTPHP'));
        $loop = Factory::create();
        $open = new \SplObjectStorage;
        $http = new Http($loop, new StreamingRequestMiddleware, function (ServerRequestInterface $request) use ($open) {
            if (strtolower($request->getHeaderLine('Upgrade')) !== 'websocket') {
                return new Response(426, ['Upgrade' => 'websocket']);
            }
            [$in, $out] = [new ThroughStream, new ThroughStream];
            $open->attach($out);
            $out->on('close', fn () => $open->detach($out));
            $rest = '';
            $in->on('data', function (string $data) use (&$rest, $out) {
                $rest .= $data;
                while ($frame = self::frame($rest)) {
                    match ($frame[0]) {
                        self::CLOSE => $out->end(self::encode(self::CLOSE, $frame[1])),
                        self::PING => $out->write(self::encode(self::PONG, $frame[1])),
                        default => $out->write(self::encode($frame[0], getmypid() . ' ' . $frame[1])),
                    };
                }
            });
            $accept = base64_encode(sha1($request->getHeaderLine('Sec-WebSocket-Key') . self::GUID, true));
            $headers = ['Upgrade' => 'websocket', 'Connection' => 'Upgrade', 'Sec-WebSocket-Accept' => $accept];
            return new Response(101, $headers, new CompositeStream($out, $in));
        });
        $listener = new Listener($address, $loop);
        $http->listen($listener);
        $loop->addSignal(SIGTERM, function () use ($listener, $open, $loop) {
            $listener->close();
            echo 'closing ' . count($open) . " connections\n";
            foreach (iterator_to_array($open, false) as $out) {
                $out->end(self::encode(self::CLOSE, pack('n', self::GOING_AWAY)));
            }
            $loop->addTimer(0.2, fn () => $loop->stop());
        });
        echo "listening on $address pid=" . getmypid() . "\n";
        $loop->run();
        echo "bye\n";
    }

    /** Takes one whole masked frame off the front: its kind and its payload. */
    private static function frame(string &$bytes): ?array
    {
        if (strlen($bytes) < 6) {
            return null;
        }
        [$kind, $length, $head] = [ord($bytes[0]) & 15, ord($bytes[1]) & 127, 2];
        if ($length === 126) {
            [$length, $head] = [unpack('n', $bytes, 2)[1], 4];
        } elseif ($length === 127) {
            [$length, $head] = [unpack('J', $bytes, 2)[1], 10];
        }
        if (strlen($bytes) < $head + 4 + $length) {
            return null;
        }
        $mask = substr($bytes, $head, 4);
        $payload = substr($bytes, $head + 4, $length);
        $bytes = substr($bytes, $head + 4 + $length);
        return [$kind, $payload ^ substr(str_repeat($mask, intdiv($length, 4) + 1), 0, $length)];
    }

    private static function encode(int $kind, string $payload): string
    {
        $length = strlen($payload);
        return chr(128 | $kind) . ($length < 126 ? chr($length) : chr(126) . pack('n', $length)) . $payload;
    }

    /** ReactPHP alone: the package's own autoloader would declare again what Laravel's has. */
    private static function load(string $vendor): void
    {
        $places = ['Evenement\\' => 'evenement/evenement/src/Evenement', 'Psr\\Http\\Message\\' => 'psr/http-message/src',
            'RingCentral\\Psr7\\' => 'ringcentral/psr7/src'];
        foreach (['Cache', 'ChildProcess', 'Dns', 'EventLoop', 'Http', 'Promise', 'Socket', 'Stream'] as $part) {
            $folder = strtolower(preg_replace('/(?<=.)[A-Z]/', '-$0', $part));
            $places["React\\$part\\"] = "react/$folder/src";
        }
        foreach (['Stream' => 'promise-stream', 'Timer' => 'promise-timer'] as $part => $folder) {
            $places["React\\Promise\\$part\\"] = "react/$folder/src";
        }
        spl_autoload_register(function (string $class) use ($vendor, $places): void {
            foreach ($places as $prefix => $folder) {
                $file = "$vendor/$folder/" . str_replace('\\', '/', substr($class, strlen($prefix))) . '.php';
                if (str_starts_with($class, $prefix) && is_file($file)) {
                    require $file;
                    return;
                }
            }
        });
        foreach (['react/promise', 'react/promise-timer', 'react/promise-stream', 'ringcentral/psr7'] as $package) {
            require_once "$vendor/$package/src/functions_include.php";
        }
    }
}
