<?php
// The console, and nothing of HTTP. What is shared by all releases lies in APP_SHARED.

namespace App;

class Kernel extends \Illuminate\Foundation\Console\Kernel
{
    protected $bootstrappers = [
        \Illuminate\Foundation\Bootstrap\LoadConfiguration::class,
        \Illuminate\Foundation\Bootstrap\HandleExceptions::class,
        \Illuminate\Foundation\Bootstrap\RegisterFacades::class,
        \Illuminate\Foundation\Bootstrap\SetRequestForConsole::class,
        \Illuminate\Foundation\Bootstrap\RegisterProviders::class,
        \Illuminate\Foundation\Bootstrap\BootProviders::class,
    ];

    protected function commands()
    {
        require base_path('routes/console.php');
    }
}
