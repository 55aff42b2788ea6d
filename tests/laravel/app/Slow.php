<?php
// A job that takes a while and tells the table `runs` when it starts and when it is done, and from which release its code is.

namespace App;

use Illuminate\Support\Facades\DB;

class Slow implements \Illuminate\Contracts\Queue\ShouldQueue
{
    use \Illuminate\Bus\Queueable, \Illuminate\Foundation\Bus\Dispatchable, \Illuminate\Queue\InteractsWithQueue;

    /** $seconds: "held" until the file finish-NUMBER is there. */
    public function __construct(private int $number, private string $seconds)
    {
    }

    public function handle(): void
    {
        [$release, $pid] = [basename(dirname(__DIR__)), getmypid()];
        $run = DB::table('runs')->insertGetId(['job' => $this->number, 'release' => $release, 'pid' => $pid]);
        // For those who wait for it: a file is there at once.
        $running = env('APP_SHARED') . "/running-$this->number";
        file_put_contents("$running.new", "$release $pid");
        rename("$running.new", $running);
        while ($this->seconds === 'held' && !file_exists(env('APP_SHARED') . "/finish-$this->number")) {
            usleep(20000);
        }
        $end = microtime(true) + (float) $this->seconds;
        // A stop signal wakes a sleeper up.
        while (($left = $end - microtime(true)) > 0) {
            usleep((int) ($left * 1e6));
        }
        DB::table('runs')->where('id', $run)->update(['done' => 1]);
        unlink($running);
    }
}
