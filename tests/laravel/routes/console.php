<?php

use Illuminate\Support\Facades\Artisan;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Schema;

Artisan::command('demo:tables', function () {
    Schema::create('jobs', function ($table) {
        $table->id();
        $table->string('queue')->index();
        $table->longText('payload');
        $table->unsignedTinyInteger('attempts');
        $table->unsignedInteger('reserved_at')->nullable();
        $table->unsignedInteger('available_at');
        $table->unsignedInteger('created_at');
    });
    Schema::create('failed_jobs', function ($table) {
        $table->id();
        $table->string('uuid')->unique();
        $table->text('connection');
        $table->text('queue');
        $table->longText('payload');
        $table->longText('exception');
        $table->timestamp('failed_at')->useCurrent();
    });
    Schema::create('runs', function ($table) {
        $table->id();
        $table->integer('job');
        $table->string('release');
        $table->integer('pid');
        $table->integer('done')->default(0);
    });
});

// One job for each number of seconds, or "held".
Artisan::command('demo:push {first} {seconds*}', function () {
    foreach ($this->argument('seconds') as $n => $seconds) {
        App\Slow::dispatch((int) $this->argument('first') + $n, $seconds);
    }
});

// What the table says, one run a line; then what waits and what failed.
Artisan::command('demo:runs', function () {
    foreach (DB::table('runs')->orderBy('id')->get() as $run) {
        $this->line("$run->job $run->release $run->pid " . ($run->done ? 'done' : 'running'));
    }
    $this->line('waiting ' . DB::table('jobs')->count() . ' failed ' . DB::table('failed_jobs')->count());
});

// In the place of a package that Debian does not have.
Artisan::command('websockets:serve {--host=127.0.0.1} {--port=6001}', function () {
    App\Websockets::serve($this->option('host') . ':' . $this->option('port'));
});
